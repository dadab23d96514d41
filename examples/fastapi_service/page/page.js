// One import at the address #ID, the choice of a file without one. What comes from files is only ever put into
// textContent.

const part = (id) => document.getElementById(id);
const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
const when = (status) => new Date(status.created_at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
const named = (field) => field[0].toUpperCase() + field.slice(1).replaceAll("_", " ");

const STATES = {
  ready: "Not started", running: "Running", cancelled: "Cancelled", stopped: "Stopped", ended: "Done", settling: "Settling",
};
const UNDER_WAY = ["running", "settling"];
const REPORTS = {
  "added.csv": ["Added", "in the store, with their ids", (now) => now.added],
  "rejected.csv": ["Refused or invalid", "not in the store; correct the rows and import this file", (now) => now.rejected + now.invalid],
  "unknown.csv": ["In doubt", "may be in the store", (now) => now.unknown],
  "not_sent.csv": ["Not sent", "certainly not in the store", (now) => now.not_sent],
};

let events = null;  // what is watched
let shown = null;  // status of the import that is shown
let moving = Promise.resolve();  // from one address to the next
let largest = Infinity;  // bytes of an upload

// -- the service --------------------------------------------------------------------------------------------------

async function ask(path, options) {
  const answer = await fetch(path, options);
  const body = answer.status === 204 ? null : await answer.json();
  if (answer.ok) return body;
  throw new Error(typeof body.detail === "string" ? body.detail : `the service answered ${answer.status}`);
}

// Does something that a person asked for, once at a time, and says what went wrong.
async function attempt(button, action) {
  button.disabled = true;
  part("problem").hidden = true;
  try {
    await action();
  } catch (error) {
    part("problem").textContent = error instanceof TypeError ? "The service can't be reached." : error.message;
    part("problem").hidden = false;
    part("problem").focus();
  } finally {
    button.disabled = false;
  }
}

function watch(id) {
  const mine = events = new EventSource(`/imports/${id}/events`);
  events.onmessage = (event) => {
    part("lost").hidden = true;
    showJob(JSON.parse(event.data));
  };
  events.onerror = () => {
    part("lost").textContent = "The service can't be reached. The import goes on when it is back; trying again …";
    part("lost").hidden = false;
    // The browser reconnects automatically, but not where something else answers instead of the service.
    if (mine.readyState === EventSource.CLOSED) setTimeout(() => mine === events && watch(id), 2000);
  };
}

// -- what is shown ------------------------------------------------------------------------------------------------

function element(tag, text, ...inside) {
  const made = document.createElement(tag);
  made.textContent = text;
  made.append(...inside);
  return made;
}

function link(text, address) {
  const made = element("a", text);
  made.href = address;
  return made;
}

function badge(state) {
  const made = element("span", STATES[state]);
  made.className = `badge ${state}`;
  return made;
}

function only(id) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== id;
}

function say(text) {
  if (part("live").textContent !== text) part("live").textContent = text;
}

async function showChoice() {
  const { imports, kinds, max_bytes, problems } = await ask("/imports");
  largest = max_bytes;
  part("kind").replaceChildren(part("kind").options[0], ...kinds.map((kind) => new Option(kind)));
  part("imports").replaceChildren(
    ...imports.map((status) => element(
      "li", "", link(status.name, `#${status.id}`), element("span", when(status)), badge(status.state),
    )),
  );
  part("none").hidden = imports.length > 0;
  const listed = new Set(imports.map((status) => status.id));
  const lost = Object.entries(problems).filter(([id]) => !listed.has(id));
  part("unread").textContent = lost.map(([id, reason]) => `Import ${id}: ${reason}.`).join(" ");
  part("unread").hidden = lost.length === 0;
  only("choose");
}

async function showPreview(status) {
  const plan = await ask(`/imports/${status.id}/preview`);
  const invalid = plan.rows - plan.valid;
  part("preview-title").textContent = status.name;
  part("preview-counts").textContent = `${count(plan.rows, "row")}: ${plan.valid.toLocaleString("en")} to send, ` +
    `${invalid.toLocaleString("en")} invalid. Nothing was sent yet, and what is added can't be deleted through Neto's API.`;
  part("start").textContent = `Add ${count(plan.valid, "log")} to the store`;
  part("start").hidden = plan.valid === 0;
  part("faults-part").hidden = invalid === 0;
  const more = invalid - plan.faults.length;
  part("faults").replaceChildren(
    ...plan.faults.map((fault) => element("li", fault)),
    ...(more > 0 ? [element("li", `… and ${count(more, "more row")}; rejected.csv will list them all`)] : []),
  );
  part("columns").replaceChildren(...Object.entries(plan.columns).map(([field, columns]) => {
    const head = element("th", named(field));
    head.scope = "row";
    return element("tr", "", head, element("td", columns.join(", else ")));
  }));
  part("ignored").textContent = plan.ignored.length ? `Not used: ${plan.ignored.join(", ")}` : "";
  part("samples").replaceChildren(...plan.samples.map((log) => {
    const list = element("dl", "", ...Object.entries(log).flatMap(
      ([field, text]) => [element("dt", named(field)), element("dd", text)],
    ));
    list.className = "panel";
    return list;
  }));
  only("preview");
  say(part("preview-counts").textContent);
}

function showJob(status) {
  shown = status;
  const now = status.progress;
  const done = now.added + now.rejected + now.invalid + now.unknown;  // what was not sent may still be
  const running = status.state === "running";
  const underWay = UNDER_WAY.includes(status.state);
  if (!underWay) events?.close();
  part("job-title").textContent = status.name;
  part("state").textContent = STATES[status.state];
  part("state").className = `badge ${status.state}`;
  part("left").textContent = running ? status.reason || timeLeft(now) : "";
  part("bar").max = now.total || 1;
  part("bar").value = done;
  part("counts").replaceChildren(...Object.values(REPORTS).map(
    ([word, , counted]) => element("div", "", element("dt", word), element("dd", counted(now).toLocaleString("en"))),
  ));
  part("reason").textContent = `It stopped: ${status.reason || "see not_sent.csv"}`;
  part("reason").hidden = status.state !== "stopped";
  part("doubt").hidden = now.unknown === 0;
  part("closing").hidden = !underWay;
  part("cancel").hidden = !running;
  part("again").hidden = !["stopped", "cancelled"].includes(status.state);
  part("remove").hidden = status.state !== "ended";
  part("settle").hidden = status.state !== "ended" || now.unknown === 0;
  showSettling(status);
  showReports(status);
  only("job");
  // Aloud at each tenth, and at the end.
  const tenth = Math.floor(10 * done / (now.total || 1)) * 10;
  if (status.state === "settling") say(part("settling-now").textContent);
  else say(running ? `${tenth} per cent done` : `${STATES[status.state]}: ${count(now.added, "log")} added`);
}

function showSettling(status) {
  const settling = status.settling;
  part("settling").hidden = settling === null;
  if (settling === null) return;
  const { added, not_sent, unknown, rows, error } = settling;
  if (status.state === "settling") {
    const until = new Date(settling.until);
    part("settling-now").textContent = until > new Date()
      ? `Waiting until about ${until.toLocaleTimeString()}, when no call can be saved any more.`
      : `${settling.looked_at.toLocaleString("en")} of ${count(status.progress.unknown, "row")} looked at.`;
  } else {
    part("settling-now").textContent = (error && `It broke off: ${error}. `) +
      `Settled: ${count(added, "row")} in the store, ${not_sent.toLocaleString("en")} certainly not there, ` +
      `${unknown.toLocaleString("en")} still in doubt.`;
  }
  const more = unknown - rows.length;
  part("left-in-doubt").replaceChildren(
    ...rows.map(({ line, reason, missing, candidates }) => element(
      "li", `line ${line}: ${reason}; missing: ${missing}; logs to look at: ${candidates.join(", ") || "none"}`,
    )),
    ...(rows.length && more > 0 ? [element("li", `… and ${count(more, "more row")}`)] : []),
  );
  part("left-in-doubt").hidden = rows.length === 0;
}

function showReports(status) {
  const rows = Object.entries(REPORTS).filter(([name]) => status.reports.includes(name));
  // Made once: a link that has the focus must not be taken away while the counts go up.
  if (part("reports").dataset.of === status.id + rows.length) return;
  part("reports").dataset.of = status.id + rows.length;
  part("reports").replaceChildren(...rows.map(([name, [word, meaning]]) => {
    const download = link(name, `/imports/${status.id}/reports/${name}`);
    download.download = "";
    return element("li", "", element("span", "", download), element("span", `${word}: ${meaning}`));
  }));
}

function timeLeft(now) {
  if (now.seconds_left === null) return "";
  const minutes = Math.ceil(now.seconds_left / 60);
  return now.seconds_left < 50 ? "less than a minute left" : `about ${count(minutes, "minute")} left`;
}

// -- where we are -------------------------------------------------------------------------------------------------

async function showHere() {
  events?.close();
  part("lost").hidden = true;
  const id = location.hash.slice(1);
  if (!id) return showChoice();
  only("");
  const status = await ask(`/imports/${encodeURIComponent(id)}`);
  if (status.state === "ready") return showPreview(shown = status);
  showJob(status);
  if (UNDER_WAY.includes(status.state)) watch(id);
}

// One after the other: where two overlap, the last is what stays.
const route = () => (moving = moving.catch(() => {}).then(showHere));

async function go(id) {
  if (location.hash.slice(1) !== id) history.pushState(null, "", `#${id}`);
  await route();
  document.querySelector("section:not([hidden]) h2").focus();
}

// -- what a person does -------------------------------------------------------------------------------------------

part("form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(part("look"), async () => {
    const [file] = part("file").files;
    if (file.size > largest) throw new Error(`The file is larger than ${count(largest, "byte")}.`);
    say("The file is being uploaded and read.");
    const asked = { name: file.name, kind: part("kind").value, timezone: part("timezone").value, start: false };
    const status = await ask(`/imports?${new URLSearchParams(asked)}`, { method: "POST", body: file });
    part("form").reset();
    await go(status.id);
  });
});

const begin = async () => {
  await ask(`/imports/${shown.id}/start`, { method: "POST" });
  await go(shown.id);
};
const drop = async () => {
  await ask(`/imports/${shown.id}`, { method: "DELETE" });
  await go("");
};
part("settle").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(part("settle-now"), async () => {
    const asked = { sole_writer: part("sole-writer").checked };
    await ask(`/imports/${shown.id}/settle?${new URLSearchParams(asked)}`, { method: "POST" });
    part("settle").reset();
    await go(shown.id);
  });
});
part("start").addEventListener("click", (event) => attempt(event.target, begin));
part("again").addEventListener("click", (event) => attempt(event.target, begin));
part("cancel").addEventListener("click", (event) => attempt(event.target, () => ask(`/imports/${shown.id}/cancel`, { method: "POST" })));
part("discard").addEventListener("click", (event) => attempt(event.target, drop));
part("remove").addEventListener("click", (event) => {
  if (confirm("Delete the file, the reports and what is remembered of the import?")) attempt(event.target, drop);
});
part("home").addEventListener("click", (event) => {
  event.preventDefault();
  attempt(event.target, () => go(""));
});
addEventListener("popstate", () => attempt(part("home"), () => go(location.hash.slice(1))));

for (const kind of ["dragover", "dragleave", "drop"]) {
  part("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    part("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") part("file").files = event.dataTransfer.files;
  });
}

const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
const zones = new Set([here, ...Intl.supportedValuesOf("timeZone"), "UTC"]);
part("timezone").append(...[...zones].sort().map((zone) => new Option(zone, zone, zone === here, zone === here)));
attempt(part("home"), route);
