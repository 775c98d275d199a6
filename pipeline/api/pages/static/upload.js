// Drop or pick images, send them, and go to the page where their results will be.

const form = document.getElementById("upload");
const drop = document.getElementById("drop");
const input = document.getElementById("files");
const status = document.getElementById("status");
const problem = document.getElementById("problem");
const sending = document.getElementById("sending");
const sent = document.getElementById("sent");
const maxBytes = Number(form.dataset.maxBytes);

let busy = false;

input.addEventListener("change", () => send([...input.files]));
form.addEventListener("submit", (event) => event.preventDefault());

// A file dropped beside the frame would otherwise replace the page.
for (const name of ["dragover", "drop"]) {
  window.addEventListener(name, (event) => event.preventDefault());
}
drop.addEventListener("dragover", () => drop.classList.add("over"));
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  drop.classList.remove("over");
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  if (items.some((item) => item.webkitGetAsEntry()?.isDirectory)) {
    complain("A folder cannot be dropped here. Send a zip of it, or use “xraytriage screen”.");
    return;
  }
  send([...event.dataTransfer.files]);
});

function send(files) {
  if (busy || files.length === 0) return;
  const large = files.filter((file) => file.size > maxBytes && !file.name.endsWith(".zip"));
  if (large.length === files.length) {
    complain(`Larger than ${form.dataset.maxSize}: ${names(large)}.`);
    return;
  }
  const body = new FormData();
  body.append("priority", new FormData(form).get("priority"));
  for (const file of files) body.append("files", file);
  begin(files.length);
  const request = new XMLHttpRequest(); // fetch tells nothing of an upload's progress
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "application/json");
  request.upload.addEventListener("progress", (event) => progress(event, files.length));
  request.addEventListener("load", () => answered(request));
  request.addEventListener("error", () =>
    complain("The server cannot be reached, or a file changed while it was sent. Try again."),
  );
  request.send(body);
}

function begin(count) {
  busy = true;
  problem.hidden = true;
  sending.hidden = false;
  sent.value = 0;
  drop.classList.add("busy");
  status.textContent = count === 1 ? "Sending the image …" : `Sending ${count} images …`;
}

function progress(event, count) {
  if (!event.lengthComputable) return;
  sent.value = (100 * event.loaded) / event.total;
  if (event.loaded === event.total) {
    status.textContent = count === 1 ? "Storing the image …" : `Storing ${count} images …`;
  }
}

function answered(request) {
  let answer;
  try {
    answer = JSON.parse(request.responseText);
  } catch {
    complain("The server gave an answer that is not understood. Try again in a moment.");
    return;
  }
  if (request.status !== 202) {
    complain(answer.detail, answer.errors);
    return;
  }
  status.textContent = "Sent. Opening the results …";
  const one = answer.images.length === 1;
  window.location.assign(new URL(one ? answer.images[0].page : answer.page).pathname);
}

function complain(words, errors = []) {
  busy = false;
  input.value = "";
  sending.hidden = true;
  status.textContent = "";
  drop.classList.remove("busy");
  const lines = errors.filter((error) => error.name).slice(0, 20);
  problem.replaceChildren(paragraph(lines.length ? "This could not be triaged:" : sentence(words)));
  if (lines.length) {
    const list = document.createElement("ul");
    list.append(...lines.map((error) => item(`${error.name}: ${error.reason}`)));
    problem.append(list);
  }
  if (errors.length > lines.length && lines.length) {
    problem.append(paragraph(`… and ${errors.length - lines.length} more.`));
  }
  problem.hidden = false;
}

function names(files) {
  return files.map((file) => file.name).join(", ");
}

function sentence(words) {
  return words.charAt(0).toUpperCase() + words.slice(1) + (words.endsWith(".") ? "" : ".");
}

function paragraph(words) {
  const node = document.createElement("p");
  node.textContent = words;
  return node;
}

function item(words) {
  const node = document.createElement("li");
  node.textContent = words;
  return node;
}
