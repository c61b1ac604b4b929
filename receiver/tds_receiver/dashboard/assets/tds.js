// Reads the page anew every ten seconds and puts what has changed in its place: nothing flickers, and nothing moves
// that is being read or typed.
"use strict";
const SECONDS = 10;
const lost = document.getElementById("lost");

function isBusy() {
  const active = document.activeElement;
  const chosen = document.getSelection();
  return document.hidden || document.querySelector("[data-touched]") !== null
    || (active !== null && active.matches("input, select, textarea"))
    || (chosen !== null && !chosen.isCollapsed);
}

// Whatever stands open stays open.
function keepOpen(before, after) {
  const open = new Set([...before.querySelectorAll("details[open]")].map((one) => one.dataset.key));
  for (const one of after.querySelectorAll("details")) one.open = open.has(one.dataset.key);
}

function put(before, after) {
  keepOpen(before, after);
  if (before.isEqualNode(after)) return;
  const held = before.contains(document.activeElement) ? document.activeElement : null;
  const kept = [...before.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  const place = held && [...before.querySelectorAll("a, button, summary, [tabindex]")].indexOf(held);
  before.replaceWith(after);
  after.querySelectorAll(".scroll").forEach((one, number) => { one.scrollLeft = kept[number] ?? 0; });
  if (held) after.querySelectorAll("a, button, summary, [tabindex]")[place]?.focus({ preventScroll: true });
}

function swap(page) {
  for (const part of ["verdict", "as-of"]) {
    const [before, after] = [document.getElementById(part), page.getElementById(part)];
    if (before && after) put(before, document.adoptNode(after));
  }
  const [main, news] = [document.getElementById("main"), page.getElementById("main")];
  const ids = (one) => [...one.children].map((child) => child.id || child.tagName).join();
  if (ids(main) !== ids(news)) {
    put(main, document.adoptNode(news));
    return;
  }
  const parts = [...news.children];
  [...main.children].forEach((before, number) => put(before, document.adoptNode(parts[number])));
}

async function refresh() {
  if (isBusy()) return;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store", redirect: "manual" });
    if (answer.type === "opaqueredirect" || answer.status === 401) {
      location.reload();
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!isBusy()) swap(page);
    lost.textContent = "";
  } catch (error) {
    lost.textContent = "Not reached since then: what is shown may be old.";
  }
}

document.addEventListener("input", (event) => { event.target.form?.setAttribute("data-touched", ""); });
document.addEventListener("visibilitychange", refresh);
setInterval(refresh, SECONDS * 1000);
