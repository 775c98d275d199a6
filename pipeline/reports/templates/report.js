"use strict";
const form = document.querySelector(".controls");
const grid = document.querySelector(".cards");
const cards = [...grid.children];
const orders = {
  abnormal: (a, b) => b.dataset.order - a.dataset.order,
  normal: (a, b) => (a.dataset.order < 0) - (b.dataset.order < 0) || a.dataset.order - b.dataset.order,
  path: (a, b) => a.dataset.path.localeCompare(b.dataset.path, undefined, { numeric: true }),
};
function show() {
  const wanted = Object.fromEntries(new FormData(form));
  const text = wanted.text.toLowerCase();
  let count = 0;
  for (const card of cards) {
    const fits =
      ["status", "type", "verdict"].every((key) => !wanted[key] || card.dataset[key] === wanted[key]) &&
      (!text || (card.dataset.path + card.textContent).toLowerCase().includes(text));
    card.hidden = !fits;
    count += fits;
  }
  grid.append(...cards.sort(orders[wanted.sort]));
  form.querySelector("output").textContent = `${count} of ${cards.length} shown`;
}
form.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
form.hidden = false;
show();
