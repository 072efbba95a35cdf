// The page: takes a photo, asks /explain about it, and shows what came back. No library, no request to anywhere else.

const element = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const TRIES = 3; // while the server is busy
let maxBytes = Infinity;
let latest = null; // the photo that was asked about last
let asking = null; // what ends a question that nobody waits for any more

/** A new element with attributes, texts and children. */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const percent = (fraction) => `${(100 * fraction).toFixed(fraction > 0.9995 || fraction < 0.0005 ? 0 : 1)} %`;
const colour = (expert) => `var(--expert-${expert % 5})`;
const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

function colourOf(made, expert) {
  made.style.setProperty("--colour", colour(expert));
  return made;
}

// Asking

/** A failure that a person can read. */
class Problem extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

async function ask(photo, signal) {
  if (photo.size > maxBytes) {
    const size = (photo.size / 1e6).toFixed(1);
    throw new Problem(`The photo has ${size} MB; this server accepts up to ${maxBytes / 1e6} MB. A smaller copy will do.`);
  }
  const key = sessionStorage.getItem("key");
  const form = new FormData();
  form.append("photos", photo, photo.name || "pasted photo");
  for (let attempt = 1; ; attempt += 1) {
    const response = await fetch("explain", { method: "POST", body: form, signal, headers: key ? { "X-API-Key": key } : {} });
    if (response.ok) return response.json();
    if (response.status === 503 && attempt < TRIES) {
      element("status").textContent = "The server is busy; waiting for a place …";
      await pause(Number(response.headers.get("Retry-After")) || 1);
      continue;
    }
    const said = await response.json().catch(() => ({}));
    throw new Problem(said.error || `The server answered ${response.status}.`, response.status);
  }
}

async function show(photo) {
  if (!photo) return;
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  latest = photo;
  element("problem").hidden = true;
  document.body.classList.add("working");
  element("status").textContent = `Looking at ${photo.name || "the photo"} …`;
  const started = performance.now();
  try {
    const answer = await ask(photo, signal);
    draw(answer, performance.now() - started);
  } catch (error) {
    if (signal.aborted) return; // another photo came
    complain(error);
  }
  document.body.classList.remove("working");
}

function complain(error) {
  const known = error instanceof Problem;
  element("result").hidden = true;
  document.body.classList.remove("answered");
  element("status").textContent = "";
  element("reason").textContent = known ? sentence(error.message) : "The server cannot be reached. Is it still running?";
  element("key-form").hidden = error.status !== 401;
  element("again").hidden = known && [401, 413, 415, 422].includes(error.status); // the same photo would fail again
  element("problem").hidden = false;
}

const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

// Showing

function draw(answer, milliseconds) {
  element("answer").textContent = answer.label;
  element("percent").textContent = percent(answer.probability);
  element("timing").textContent = `answered in ${Math.round(milliseconds)} ms`;
  element("photo").src = answer.photo;
  element("photo").alt = `Your photo, ${answer.width} × ${answer.height} pixels, with a box for each of ${answer.experts.length} experts`;
  drawBoxes(answer);
  drawClasses(answer.top);
  drawShares(answer.experts);
  element("views").replaceChildren(...answer.experts.map(view));
  element("result").hidden = false;
  document.body.classList.add("answered");
  element("status").textContent = `${answer.label}, ${percent(answer.probability)}`;
  element("answer").focus({ preventScroll: true });
}

function drawBoxes({ width, height, experts }) {
  const canvas = element("boxes");
  canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
  canvas.setAttribute("preserveAspectRatio", "none");
  const groups = experts.map(({ box_xyxy: [x1, y1, x2, y2] }, expert) => {
    const group = document.createElementNS(SVG, "g");
    for (const kind of ["casing", "edge"]) {
      const edge = document.createElementNS(SVG, "rect");
      const place = { x: x1, y: y1, width: x2 - x1, height: y2 - y1, class: kind };
      for (const [name, value] of Object.entries(place)) edge.setAttribute(name, value);
      if (kind === "edge") edge.style.stroke = colour(expert);
      group.append(edge);
    }
    return group;
  });
  canvas.replaceChildren(...groups);
  element("legend").replaceChildren(
    ...groups.map((group, expert) => {
      const button = make("button", { type: "button", "aria-pressed": "true" }, dot(expert), `Expert ${expert}`);
      button.addEventListener("click", () => {
        const shown = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(shown));
        group.style.display = shown ? "" : "none";
      });
      return button;
    }),
  );
}

const dot = (expert) => colourOf(make("span", { class: "dot", "aria-hidden": "true" }), expert);

function drawClasses(top) {
  element("top").replaceChildren(
    ...top.map(({ label, probability }) => {
      const bar = make("i");
      bar.style.width = percent(probability).replace(" ", "");
      return make(
        "li", {}, make("span", {}, label), make("span", { class: "number" }, percent(probability)),
        make("span", { class: "bar", "aria-hidden": "true" }, bar),
      );
    }),
  );
}

function drawShares(experts) {
  element("gate").replaceChildren(
    ...experts.map(({ gate_prob: share }, expert) => {
      const part = colourOf(make("i"), expert);
      part.style.flex = String(share);
      return part;
    }),
  );
  element("shares").replaceChildren(
    ...experts.map(({ gate_prob: share }, expert) =>
      make("li", {}, make("span", {}, dot(expert), `Expert ${expert}`), make("span", { class: "number" }, percent(share))),
    ),
  );
}

function view(expert, number) {
  const [x1, y1, x2, y2] = expert.box_xyxy.map(Math.round);
  const says = `Expert ${number} says ${expert.label}`;
  const overlay = make("canvas", { width: 256, height: 256, role: "img", "aria-label": `${says}; where it looked in its view` });
  drawAttention(overlay, expert.attention);
  const seen = number === 0 ? "most of the photo" : `${x2 - x1} × ${y2 - y1} pixels of the photo`;
  return colourOf(
    make(
      "li", { class: "card" },
      make("div", { class: "picture" }, make("img", { src: expert.view, alt: `What expert ${number} saw: ${seen}` }), overlay),
      make(
        "div", { class: "text" }, make("span", { class: "quiet" }, `Expert ${number} says`), make("strong", {}, expert.label),
        make("span", { class: "quiet" }, `Saw ${seen}`),
      ),
    ),
    number,
  );
}

// From nothing over violet and orange to pale yellow, as photos seldom are: [red, green, blue, cover] at even steps.
const RAMP = [[20, 10, 60, 0], [90, 20, 120, 0.5], [190, 50, 90, 0.75], [245, 130, 40, 0.85], [252, 240, 160, 0.95]];

/** Attention as colours over the view; the map has a few cells, which are smoothed. */
async function drawAttention(canvas, url) {
  const map = new Image();
  map.src = url;
  await map.decode();
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(map, 0, 0, canvas.width, canvas.height);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < pixels.data.length; at += 4) {
    const place = (pixels.data[at] / 255) * (RAMP.length - 1);
    const [low, high] = [RAMP[Math.floor(place)], RAMP[Math.ceil(place)]];
    const mixed = low.map((value, channel) => value + (high[channel] - value) * (place % 1));
    pixels.data.set([mixed[0], mixed[1], mixed[2], 255 * mixed[3]], at);
  }
  context.putImageData(pixels, 0, 0);
}

// Ways in

for (const [button, input] of [["choose", "file"], ["take", "camera"]]) {
  element(button).addEventListener("click", () => element(input).click());
  element(input).addEventListener("change", () => {
    show(element(input).files[0]);
    element(input).value = ""; // the same photo may be chosen again
  });
}

const pictureIn = (files) => [...files].find((file) => file.type.startsWith("image/")) || files[0];

document.addEventListener("paste", (event) => {
  const pasted = event.clipboardData.files;
  if (pasted.length) show(pictureIn(pasted));
});
let depth = 0; // a drag enters and leaves every element on its way
for (const [kind, step] of [["dragenter", 1], ["dragleave", -1]]) {
  document.addEventListener(kind, () => element("drop").classList.toggle("over", (depth += step) > 0));
}
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  element("drop").classList.toggle("over", (depth = 0) > 0);
  if (event.dataTransfer.files.length) show(pictureIn(event.dataTransfer.files));
});

element("again").addEventListener("click", () => show(latest));
element("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", element("key").value);
  show(latest);
});
element("strength").addEventListener("input", (event) => {
  element("views").style.setProperty("--strength", event.target.value / 100);
});

try {
  const about = await (await fetch("model")).json();
  maxBytes = about.max_bytes;
  element("model").textContent = `${about.name}: ${about.classes.length} classes, told apart by a mixture of experts`;
  element("accepted").textContent = `JPEG, PNG, WebP, HEIC and others, up to ${about.max_bytes / 1e6} MB`;
  element("version").textContent = `MGE ${about.version}`;
} catch {
  // The page works without: the server says what it does not accept.
}
