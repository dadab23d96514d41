"""What can be asked of any page: names of controls, contrast, width. The scripts run in the browser."""

from __future__ import annotations

from typing import Any

WITHOUT_NAME = """() => [...document.querySelectorAll("a, button, input, select, progress")]
  .filter((control) => control.checkVisibility())
  .filter((control) => {
    const labels = [...(control.labels ?? [])].map((label) => label.textContent);
    const by = (control.getAttribute("aria-labelledby") ?? "").split(" ").filter(Boolean)
      .map((id) => document.getElementById(id)?.textContent ?? "");
    return !(control.matches("a, button") ? control.textContent : [...labels, ...by].join("")).trim();
  })
  .map((control) => control.outerHTML)"""

LOW_CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return rgba(getComputedStyle(document.documentElement).colorScheme.startsWith("dark") ? "black" : "white");
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.closest(".unseen, option")) continue;
    const [dark, bright] = [light(rgba(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => a - b);
    const ratio = (bright + 0.05) / (dark + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)}: ${texts.currentNode.data.trim()}`);
  }
  return found;
}"""

FAULTS_OF_STRUCTURE = """() => {
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  const levels = [...document.querySelectorAll("h1, h2, h3")].filter((heading) => heading.checkVisibility())
    .map((heading) => Number(heading.tagName[1]));
  return [
    ...ids.filter((id, index) => ids.indexOf(id) !== index).map((id) => `twice: ${id}`),
    ...levels.filter((level, index) => level > (levels[index - 1] ?? 0) + 1).map((level) => `skipped to h${level}`),
    ...[...document.querySelectorAll("[aria-describedby], [aria-labelledby]")].flatMap((element) =>
      (element.getAttribute("aria-describedby") ?? element.getAttribute("aria-labelledby")).split(" "))
      .filter((id) => !document.getElementById(id)).map((id) => `no such id: ${id}`),
    ...(document.documentElement.lang && document.title ? [] : ["no language or title"]),
  ];
}"""

TOO_WIDE = "() => document.documentElement.scrollWidth > innerWidth"

FOCUS_SHOWS = """() => getComputedStyle(document.activeElement).outlineStyle !== "none" &&
  parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2"""


async def faults_of(page: Any) -> list[str]:
    """List what a checker of accessibility would say of the page as it is shown now."""
    faults = [f"no name: {control}" for control in await page.evaluate(WITHOUT_NAME)]
    faults += [f"contrast {text}" for text in await page.evaluate(LOW_CONTRAST)]
    faults += await page.evaluate(FAULTS_OF_STRUCTURE)
    return [*faults, "wider than the window"] if await page.evaluate(TOO_WIDE) else faults
