// While an element says what to poll, ask the API with growing pauses; when its answer changes,
// fetch this page again and put its live parts in the place of ours.

const MOST_MS = 5000;
const GROWTH = 1.5;

const connection = document.getElementById("connection");
const rowsAsSent = new Map(); // by id; the rows themselves are changed by sorting and filtering

for (const row of document.querySelectorAll("[data-live=rows] > *")) {
  rowsAsSent.set(row.id, row.outerHTML);
}
watch();

async function watch() {
  let seen = "";
  let pause = 0;
  for (;;) {
    const poll = document.querySelector("[data-poll]");
    if (!poll) return;
    const first = Number(poll.dataset.pauseMs);
    pause = Math.max(pause, first);
    await new Promise((resolve) => setTimeout(resolve, pause));
    try {
      const answer = await text(poll.dataset.poll, "application/json");
      if (answer === seen) {
        pause = Math.min(pause * GROWTH, MOST_MS);
      } else {
        refresh(await text(window.location.href, "text/html"));
        seen = answer;
        pause = first;
      }
      connection.hidden = true;
    } catch {
      connection.hidden = false;
      pause = MOST_MS;
    }
  }
}

async function text(address, kind) {
  const response = await fetch(address, { headers: { Accept: kind } });
  if (!response.ok) throw new Error(response.statusText);
  return response.text();
}

function refresh(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  document.title = fresh.title;
  for (const part of document.querySelectorAll("[data-live]")) {
    const replacement = fresh.getElementById(part.id);
    if (part.dataset.live === "rows") {
      mergeRows(part, replacement);
    } else if (part.innerHTML !== replacement.innerHTML) {
      // The element itself stays: a live region is announced when its content changes.
      part.replaceChildren(...replacement.childNodes);
      part.className = replacement.className;
    }
  }
  document.dispatchEvent(new Event("refreshed"));
}

// Rows that did not change stay, so that pictures do not flicker and focus is not lost.
function mergeRows(old, fresh) {
  for (const row of [...fresh.children]) {
    const html = row.outerHTML;
    if (rowsAsSent.get(row.id) === html) continue;
    rowsAsSent.set(row.id, html);
    const known = document.getElementById(row.id);
    if (known) known.replaceWith(row);
    else old.append(row);
  }
}
