// The heatmap beside the original: which finding it shows, and how strongly.

document.addEventListener("change", (event) => {
  if (event.target.name === "heatmap") show(event.target);
  if (event.target.id === "overlay-on") blend();
});
document.addEventListener("input", (event) => {
  if (event.target.id === "overlay-strength") blend();
});
document.addEventListener("refreshed", begin);
begin();

function begin() {
  const controls = document.querySelector(".overlay-controls");
  if (!controls) return;
  controls.hidden = false;
  const overlay = document.getElementById("overlay");
  overlay.addEventListener("error", () => told(true));
  overlay.addEventListener("load", () => told(false));
  if (overlay.complete && overlay.naturalWidth === 0) told(true);
  blend();
}

function show(radio) {
  const overlay = document.getElementById("overlay");
  overlay.src = radio.value;
  overlay.alt = `Heatmap of ${radio.dataset.label} over the image`;
  document.getElementById("overlay-label").textContent = radio.dataset.label;
}

function blend() {
  const on = document.getElementById("overlay-on").checked;
  const strength = document.getElementById("overlay-strength");
  strength.disabled = !on;
  document.getElementById("overlay").style.opacity = on ? strength.value / 100 : 0;
}

function told(failed) {
  document.getElementById("overlay-problem").hidden = !failed;
}
