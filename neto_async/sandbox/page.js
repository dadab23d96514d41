"use strict";
// Asks every second whether anything changed, and if so takes over the tables that the store has made (and escaped).

const box = document.getElementById("live");
const lost = document.getElementById("connection");

function isBusy(content) {
  // Someone marks a text: taking it away from under the pointer would be rude.
  const selection = document.getSelection();
  return !selection.isCollapsed && content.contains(selection.anchorNode);
}

async function refresh() {
  const content = document.getElementById("content");
  const state = await (await fetch("/sandbox/state.json?limit=0", { cache: "no-store" })).json();
  const same = String(state.revision) === content.dataset.revision &&
    state.calls_in_last_minute.toLocaleString("en") === content.dataset.used;
  if (same || isBusy(content)) return;
  const page = new DOMParser().parseFromString(await (await fetch("/", { cache: "no-store" })).text(), "text/html");
  const fresh = document.adoptNode(page.getElementById("content"));
  for (const details of content.querySelectorAll("details[open]")) {
    const same = fresh.querySelector(`#${details.id}`);
    if (same) same.open = true;
  }
  const focused = document.activeElement.closest("#content details")?.id;
  content.replaceWith(fresh);
  if (focused) document.getElementById(focused)?.querySelector("summary").focus({ preventScroll: true });
}

async function poll() {
  if (box.checked && !document.hidden) {
    try {
      await refresh();
      lost.hidden = true;
    } catch {
      lost.textContent = "The sandbox does not answer any more. What you see is its last state.";
      lost.hidden = false;
    }
  }
  setTimeout(poll, 1000);
}

poll();
