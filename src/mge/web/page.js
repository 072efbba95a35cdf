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

/** A share as people write it; what is nearly nothing or nearly all is said to be that. */
function percent(fraction) {
  if (fraction > 0 && fraction < 0.0005) return "< 0.1 %";
  if (fraction < 1 && fraction > 0.9995) return "> 99.9 %";
  return `${(100 * fraction).toFixed(1)} %`;
}

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
    throw new Problem(`The photo has ${size} MB; this server accepts up to ${maxBytes / 1e6} MB. Try a smaller copy.`);
  }
  const key = sessionStorage.getItem("key");
  const form = new FormData();
  form.append("photos", photo, photo.name || "pasted photo");
  for (let attempt = 1; ; attempt += 1) {
    const response = await fetch("explain", { method: "POST", body: form, signal, headers: key ? { "X-API-Key": key } : {} });
    if (response.ok) return response.json();
    if (response.status === 503 && attempt < TRIES) {
      element("status").textContent = "The server is busy; waiting …";
      await pause(Number(response.headers.get("Retry-After")) || 1);
      continue;
    }
    const said = await response.json().catch(() => ({}));
    throw new Problem(said.error || `The server returned status ${response.status}.`, response.status);
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
  element("status").textContent = `Processing ${photo.name || "the photo"} …`;
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

const sentence = (text) => text.replace(/^the /, "The ") + (/[.!?]$/.test(text) ? "" : ".");

// Showing

function draw(answer, milliseconds) {
  const isSure = !answer.reason; // a model with a threshold says why it calls a photo unknown
  element("eyebrow").textContent = isSure ? "Prediction" : "Confidence below the threshold";
  element("answer").textContent = answer.label;
  element("sureness").textContent = isSure ? percent(answer.probability) : sentence(answer.reason);
  element("sureness").classList.toggle("share", isSure);
  element("timing").textContent = `Response time: ${Math.round(milliseconds)} ms`;
  element("photo").src = answer.photo;
  element("photo").alt = `Your photo, ${answer.width} × ${answer.height} pixels, with a box for each of ${answer.experts.length} experts`;
  drawBoxes(answer);
  drawClasses(answer.top);
  drawShares(answer.experts);
  element("views").replaceChildren(...answer.experts.map(view));
  element("result").hidden = false;
  document.body.classList.add("answered");
  element("status").textContent = "";
  element("answer").focus({ preventScroll: true });
}

function drawBoxes({ width, height, experts }) {
  element("stage").style.setProperty("--shape", width / height);
  element("boxes").setAttribute("viewBox", `0 0 ${width} ${height}`);
  element("stage").querySelectorAll(".tag").forEach((tag) => tag.remove());
  element("boxes").replaceChildren();
  const buttons = experts.map(({ box_xyxy: box }, expert) => {
    const drawn = [outline(box, expert), tag(box, expert, width, height)];
    element("boxes").append(drawn[0]);
    element("stage").append(drawn[1]);
    const button = make("button", { type: "button", "aria-pressed": "true" }, dot(expert), `Expert ${expert}`);
    button.addEventListener("click", () => {
      const isShown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(isShown));
      for (const part of drawn) part.style.display = isShown ? "" : "none";
    });
    return button;
  });
  element("legend").replaceChildren(...buttons);
}

/** A box as two lines, the wider one white: to be seen on any photo. */
function outline([x1, y1, x2, y2], expert) {
  const group = colourOf(document.createElementNS(SVG, "g"), expert);
  for (const kind of ["casing", "edge"]) {
    const line = document.createElementNS(SVG, "rect");
    const place = { x: x1, y: y1, width: x2 - x1, height: y2 - y1, class: kind };
    for (const [name, value] of Object.entries(place)) line.setAttribute(name, value);
    group.append(line);
  }
  return group;
}

/** The number of a box in a corner of its own, since boxes often share one. */
function tag([x1, y1, x2, y2], expert, width, height) {
  const made = colourOf(make("span", { class: "tag", "aria-hidden": "true" }, String(expert)), expert);
  const [isRight, isBelow] = [expert % 2 === 1, expert % 4 > 1];
  const back = "calc(-100% - 16px)";
  const place = {
    "--x": `${(100 * (isRight ? x2 : x1)) / width}%`, "--y": `${(100 * (isBelow ? y2 : y1)) / height}%`,
    "--dx": isRight ? back : "0px", "--dy": isBelow ? back : "0px",
  };
  for (const [name, value] of Object.entries(place)) made.style.setProperty(name, value);
  return made;
}

const dot = (expert) => colourOf(make("span", { class: "dot", "aria-hidden": "true" }), expert);

function drawClasses(top) {
  element("top").replaceChildren(
    ...top.map(({ label, probability }) => {
      const bar = make("i");
      bar.style.width = `${100 * probability}%`;
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
  const says = `Prediction of expert ${number}: ${expert.label}`;
  const overlay = make("canvas", { width: 160, height: 160, role: "img", "aria-label": `${says}; its attention map` });
  drawAttention(overlay, expert.attention);
  const seen = `${x2 - x1} × ${y2 - y1} pixels of the photo`;
  return colourOf(
    make(
      "li", { class: "card" },
      make("div", { class: "picture" }, make("img", { src: expert.view, alt: `View of expert ${number}: ${seen}` }), overlay),
      make(
        "div", { class: "text" }, make("span", { class: "quiet" }, `Expert ${number}`), make("strong", {}, expert.label),
        make("span", { class: "quiet" }, `View: ${seen}`),
      ),
    ),
    number,
  );
}

// Dark where it did not look, clear and then bright where it did: [red, green, blue, cover] at even steps.
const RAMP = [[8, 10, 30, 0.85], [50, 20, 70, 0.62], [200, 70, 50, 0.4], [252, 150, 40, 0.52], [255, 232, 110, 0.68]];

/** Attention as colours over the view; the map has a few cells, which are smoothed. */
async function drawAttention(canvas, url) {
  const map = await cellsOf(url);
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  for (let y = 0; y < canvas.height; y += 1) {
    for (let x = 0; x < canvas.width; x += 1) {
      const place = between(map, x / canvas.width, y / canvas.height) * (RAMP.length - 1);
      const [low, high] = [RAMP[Math.floor(place)], RAMP[Math.ceil(place)]];
      const mixed = low.map((value, channel) => value + (high[channel] - value) * (place % 1));
      pixels.data.set([mixed[0], mixed[1], mixed[2], 255 * mixed[3]], 4 * (y * canvas.width + x));
    }
  }
  context.putImageData(pixels, 0, 0);
}

/** A grey picture's values, from 0 to 1. */
async function cellsOf(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const { width, height } = image;
  const context = make("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return { width, height, at: (x, y) => data[4 * (y * width + x)] / 255 };
}

/** A map's value at a point, fractions of its width and height, smoothly between the middles of its cells. */
function between(map, x, y) {
  const [left, right, across] = neighbours(x, map.width);
  const [above, below, down] = neighbours(y, map.height);
  const mix = (from, to, share) => from + (to - from) * share;
  return mix(mix(map.at(left, above), map.at(right, above), across), mix(map.at(left, below), map.at(right, below), across), down);
}

function neighbours(fraction, length) {
  const place = Math.min(Math.max(fraction * length - 0.5, 0), length - 1);
  const first = Math.floor(place);
  const share = place - first;
  return [first, Math.min(first + 1, length - 1), share * share * (3 - 2 * share)];
}

// Ways in

element("take").hidden = navigator.maxTouchPoints === 0;
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
  element("model").textContent = `${about.name}: mixture-of-experts classifier for ${about.classes.length} classes`;
  element("accepted").textContent = `JPEG, PNG, WebP, HEIC and others, up to ${about.max_bytes / 1e6}\u00a0MB`;
  element("version").textContent = `MGE ${about.version}`;
} catch {
  // The page works without: the server says what it does not accept.
}
