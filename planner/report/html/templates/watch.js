"use strict";
// Asks for the page's parts again and again and puts in those that have changed. The keyboard's place, open details
// and what was scrolled are kept.
const every = 1000 * Number(document.body.dataset.every);
const lost = document.querySelector(".lost");
const seen = new Map();
const reachable = "a[href], summary, [tabindex]";

function put(old, fresh) {
  const places = [...old.querySelectorAll(reachable)];
  const focused = places.indexOf(document.activeElement);
  const open = [...old.querySelectorAll("details")].map(one => one.open);
  const scrolled = [...old.querySelectorAll(".scroll, pre")].map(one => [one.scrollLeft, one.scrollTop]);
  old.replaceChildren(...fresh.childNodes);
  old.querySelectorAll("details").forEach((one, i) => { if (i < open.length) one.open = open[i]; });
  old.querySelectorAll(".scroll, pre").forEach((one, i) => {
    if (i < scrolled.length) [one.scrollLeft, one.scrollTop] = scrolled[i];
  });
  if (focused >= 0) old.querySelectorAll(reachable)[focused]?.focus({ preventScroll: true });
}

async function look() {
  try {
    const answer = await fetch("parts", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const box = document.createElement("template");
    box.innerHTML = await answer.text();
    const main = document.querySelector("main");
    const fresh = [...box.content.querySelectorAll("[data-part]")];
    const kept = new Set(fresh.map(part => part.id));
    for (const part of main.querySelectorAll("[data-part]")) if (!kept.has(part.id)) part.remove();
    let before = null;
    for (const part of fresh) {
      const text = part.innerHTML;
      const old = document.getElementById(part.id);
      if (!old) before ? before.after(part) : main.prepend(part);
      else if (seen.get(part.id) !== text) put(old, part);
      seen.set(part.id, text);
      before = document.getElementById(part.id);
    }
    lost.hidden = true;
  } catch {
    lost.querySelector("span").textContent = document.querySelector(".clock").textContent;
    lost.hidden = false;
  }
  setTimeout(look, every);
}

document.querySelectorAll("[data-part]").forEach(part => seen.set(part.id, part.innerHTML));
setTimeout(look, every);
