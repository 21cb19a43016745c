"use strict";
// What the page can do beyond showing: sort tables, tell what is under the pointer, light up one trial everywhere, copy.
const units = { ms: 1e-3, s: 1, min: 60, h: 3600, K: 1024, GiB: 1, "%": 0.01 };

function worth(text) {
  let total = 0, any = false;
  for (const [, number, unit] of text.replace(/[\s\u00a0](?=\d{3}\b)/g, "").matchAll(/([-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?) ?(ms|min|s|h|GiB|%)?/g)) {
    if (any && !unit) break;
    total += Number(number) * (units[unit] ?? 1);
    any = true;
    if (!["h", "min", "s"].includes(unit)) break;
  }
  return any ? total : null;
}

function sort(table, column, up) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row, i) => [row.cells[column].textContent.trim(), row, i]);
  rows.sort(([a, , i], [b, , j]) => {
    if (!a || !b) return (!a - !b) || i - j;
    const [x, y] = [worth(a), worth(b)];
    const order = x !== null && y !== null ? x - y : (x === null) - (y === null) || a.localeCompare(b);
    return (up ? order : -order) || i - j;
  });
  body.append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table")) {
  if (!table.tBodies[0] || table.tBodies[0].rows.length < 3) continue;
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", () => {
      const up = cell.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", up ? "ascending" : "descending");
      sort(table, column, up);
    });
  });
}

const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);
const trialOf = text => /^trial (\d+)\b/.exec(text)?.[1];
const marks = [...document.querySelectorAll("svg title")].map(title => {
  const words = title.textContent, parent = title.parentElement;
  const mark = parent.matches("polyline") ? parent : parent.querySelector(".dot, .rect, path") ?? parent;
  title.remove();
  parent.setAttribute("aria-label", words);
  return { words, mark, parent, trial: trialOf(words) };
});
for (const row of document.querySelectorAll("#trials tbody tr, #settings tbody tr")) {
  const trial = /^\d+/.exec(row.cells[0].textContent.trim())?.[0];
  row.addEventListener("pointerenter", () => light(trial));
  row.addEventListener("pointerleave", () => light(null));
  marks.push({ mark: row, trial });
}

function light(trial) {
  for (const one of marks) one.mark.classList.toggle("lit", trial != null && one.trial === trial);
}

for (const { words, mark, parent, trial } of marks) {
  if (!words) continue;
  parent.addEventListener("pointerenter", event => {
    light(trial);
    mark.classList.add("lit");
    tip.textContent = words;
    tip.hidden = false;
    const left = Math.min(event.clientX + 12, document.documentElement.clientWidth - tip.offsetWidth - 8);
    const below = event.clientY + 16 + tip.offsetHeight > innerHeight;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${below ? event.clientY - tip.offsetHeight - 8 : event.clientY + 16}px`;
  });
  parent.addEventListener("pointerleave", () => {
    light(null);
    mark.classList.remove("lit");
    tip.hidden = true;
  });
}

for (const text of document.querySelectorAll("pre.copied")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  text.before(button, said);
  button.addEventListener("click", async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(text.textContent);
    } catch {
      getSelection().selectAllChildren(text);
      done = document.execCommand("copy");
    }
    said.textContent = done ? " copied" : " selected: copy it with the keyboard";
  });
}
