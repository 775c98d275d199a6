// Filter and order the rows of a job; once it is complete, load those of further pages.

const MOST_ROWS = 5000;

const body = document.getElementById("rows");
const sieve = document.getElementById("sieve");
const more = document.getElementById("more");
const shown = document.getElementById("shown");

const ORDERS = {
  abnormal: (a, b) => score(b) - score(a),
  arrival: () => 0,
  name: (a, b) => a.dataset.name.localeCompare(b.dataset.name),
};

sieve.hidden = false;
sieve.addEventListener("change", arrange);
sieve.addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("refreshed", begin);
begin();

async function begin() {
  arrange();
  if (document.querySelector("[data-poll]")) return;
  let next = more.querySelector("a");
  while (next && body.rows.length < MOST_ROWS) {
    const response = await fetch(next.href, { headers: { Accept: "text/html" } });
    if (!response.ok) break; // the link to the next page stays, and can be followed
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    body.append(...page.getElementById("rows").rows);
    more.replaceChildren(...page.getElementById("more").childNodes);
    next = more.querySelector("a");
    arrange();
  }
}

function arrange() {
  const rows = [...body.rows];
  for (const name of ["state", "type"]) offer(sieve.elements[name], rows, name);
  const { state, type, order } = Object.fromEntries(new FormData(sieve));
  const compare = ORDERS[order];
  const arranged = [...rows].sort((a, b) => compare(a, b) || (a.id < b.id ? -1 : 1));
  // Rows that stand right already are not touched: moving a row takes the focus from its link.
  if (arranged.some((row, place) => row !== rows[place])) body.append(...arranged);
  let count = 0;
  for (const row of rows) {
    row.hidden = (state && row.dataset.state !== state) || (type && row.dataset.type !== type);
    if (!row.hidden) count += 1;
  }
  say(count === rows.length ? "" : `${count} of ${rows.length} shown`);
}

function score(row) {
  return row.dataset.score === "" ? -1 : Number(row.dataset.score);
}

function offer(select, rows, name) {
  const present = [...new Set(rows.map((row) => row.dataset[name]))].filter(Boolean).sort();
  const offered = [...select.options].slice(1).map((option) => option.value);
  if (present.join() === offered.join()) return;
  const chosen = select.value;
  select.replaceChildren(select.options[0], ...present.map((value) => new Option(value, value)));
  select.value = present.includes(chosen) ? chosen : "";
}

function say(words) {
  if (shown.textContent !== words) shown.textContent = words;
}
