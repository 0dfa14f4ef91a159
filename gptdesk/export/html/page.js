// The page: its boxes and buttons, and the text as tokens. Whatever comes of a model or a user is shown as text alone.
"use strict";

const LARGEST_SEED = 2n ** 63n - 1n;
const DRAWN_SEEDS = 2 ** 32;  // seeds that the page draws are below it, to be short
const LEAST = [0.5, 0.2, 0.05, 0.01, 0];  // probability of each colour
const ENDS = {
  length: "the number of new tokens is reached", context: "the context is full", end: "the model ended the text",
  stopped: "stopped",
};

const box = id => document.getElementById(id);
let model = null;
let running = false, stopped = false;
let steps = [];  // of the text shown: {token, probability, top}
let chosenToken = null;  // element of the token whose likely tokens are shown

// The weights lie in the page, or in files beside it, which add to `weightParts`: base64, in parts.
function weightBytes(data) {
  const parts = globalThis.weightParts ?? [box("weights").textContent];
  const bytes = new Uint8Array(data.bytes);
  let place = 0;
  for (let i = 0; i < data.parts; i++) {
    if (typeof parts[i] !== "string") throw new Error(`The file ${data.folder}/${i + 1}.js is missing; copy the whole folder.`);
    const text = atob(parts[i]);
    for (let j = 0; j < text.length; j++) bytes[place + j] = text.charCodeAt(j);
    place += text.length;
    parts[i] = null;
  }
  box("weights")?.remove();
  return bytes;
}

function load() {
  const data = JSON.parse(box("data").textContent);
  const network = new Network(data.config, readTensors(weightBytes(data.weights), data.tensors));
  model = { network, tokenizer: makeTokenizer(data.tokenizer), endOfText: data.end_of_text };
  for (const [term, words] of data.about) {
    box("about").append(element("dt", term), element("dd", words));
  }
  box("stats").textContent = "Ready.";
  box("go").disabled = false;
}

function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

// Return what the boxes say; throws an Error with a sentence for a value out of range.
function request() {
  const number = (id, name) => {
    const input = box(id), { min, max } = input, value = input.valueAsNumber;
    const whole = input.step === "1" && !Number.isInteger(value);
    if (!Number.isFinite(value) || whole || (min && value < Number(min)) || (max && value > Number(max))) {
      throw new Error(`${name} must be a ${input.step === "1" ? "whole " : ""}number ` +
        (max ? `from ${min} to ${max}.` : `of at least ${min}.`));
    }
    return value;
  };
  const chain = box("greedy").checked ? [["greedy", null]] : [
    ["temperature", number("temperature", "Temperature")], ["top_k", number("top_k", "Top-k")],
    ["top_p", number("top_p", "Top-p")], ["min_p", number("min_p", "Min-p")],
  ];
  if (box("new-seed").checked) {
    box("seed").value = String(crypto.getRandomValues(new Uint32Array(1))[0] % DRAWN_SEEDS);
  }
  const seed = box("seed").value.trim();
  if (!/^[0-9]{1,19}$/.test(seed) || BigInt(seed) > LARGEST_SEED) {
    throw new Error(`Seed must be a whole number from 0 to ${LARGEST_SEED}.`);
  }
  return { prompt: box("prompt").value, chain, seed: BigInt(seed), tokens: number("tokens", "New tokens") };
}

async function start() {
  if (running || !model) return;
  running = true;
  stopped = false;
  steps = [];
  hideLikely();
  box("problem").hidden = true;
  try {
    await write(request());
  } catch (error) {
    box("problem").textContent = error.message;
    box("problem").hidden = false;
    box("stats").textContent = "";
  }
  running = false;
  box("go").disabled = false;
  box("stop").disabled = true;
  box("copy").disabled = !box("text").textContent;
}

// Generate one text into the page, a slice of time after the other.
async function write(wanted) {
  const text = box("text");
  const stream = generate(model, { ...wanted, stopped: () => stopped });
  let step = stream.next().value;  // raises what is wrong with the prompt before the old text goes
  const { dropped, prompt } = step;
  text.replaceChildren(element("span", wanted.prompt, "prompt"));
  box("go").disabled = true;
  box("stop").disabled = false;
  box("stats").textContent = "Reading the prompt …";
  let firstAt = null, added = document.createDocumentFragment();
  const flush = () => {
    const atEnd = text.scrollTop + text.clientHeight >= text.scrollHeight - 40;
    text.append(added);
    if (atEnd) text.scrollTop = text.scrollHeight;
    if (steps.length) box("stats").textContent = stats(steps.length, firstAt, wanted.seed, "");
  };
  for (step of stream) {
    if (step === null) {
      flush();
      await nextSlice();
    } else if (step.reason) {
      if (step.text) added.append(element("span", step.text));
      flush();
      const cut = dropped ? ` The first ${plural(dropped, "token")} of the prompt left no room for new ones and ` +
        `${dropped === 1 ? "was" : "were"} not read; ${plural(prompt, "token")} ${prompt === 1 ? "was" : "were"}.` : "";
      box("stats").textContent = stats(steps.length, firstAt, wanted.seed, ENDS[step.reason]) + cut;
    } else {
      firstAt ??= performance.now();
      const shown = element("span", step.text, `token p${LEAST.findIndex(least => step.probability >= least)}`);
      shown.dataset.step = String(steps.length);
      steps.push(step);
      added.append(shown);
    }
  }
}

function stats(count, firstAt, seed, end) {
  const seconds = (performance.now() - firstAt) / 1000;
  const speed = count > 1 && seconds > 0 ? [`${Math.round((count - 1) / seconds).toLocaleString("en")} tokens/s`] : [];
  return [plural(count, "token"), ...speed, ...(end ? [`ended: ${end}`] : []), `seed ${seed}`].join(" · ");
}

function plural(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}

// Let the page be drawn and its events be heard, also where timers are slowed down.
function nextSlice() {
  return new Promise(resolve => {
    const channel = new MessageChannel();
    channel.port1.onmessage = resolve;
    channel.port2.postMessage(null);
  });
}

// A token as text in quotes; bytes that are no whole characters as numbers
function tokenText(id) {
  const bytes = model.tokenizer.bytes(id);
  try {
    return JSON.stringify(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch {
    return Array.from(bytes, byte => `0x${byte.toString(16).padStart(2, "0")}`).join(" ");
  }
}

function showLikely(shown) {
  hideLikely();
  const step = steps[Number(shown.dataset.step)], likely = box("likely");
  if (!step) return;
  const percent = share => (share < 0.0001 ? "< 0.01 %" : `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`);
  const rows = step.top.map(([id, share]) => [id, share]);
  if (!rows.some(([id]) => id === step.token)) rows.push([step.token, step.probability]);
  likely.replaceChildren(...rows.map(([id, share]) => {
    const row = element("div", "", id === step.token ? "row own" : "row"), bar = element("span", "", "bar");
    bar.style.width = `${100 * share}%`;
    row.append(bar, element("span", id === model.endOfText ? "end of text" : tokenText(id)), element("span", percent(share)));
    return row;
  }));
  likely.hidden = false;
  const at = shown.getClientRects()[0] ?? box("text").getBoundingClientRect();
  const left = Math.max(8, Math.min(at.left, document.documentElement.clientWidth - likely.offsetWidth - 8));
  const below = at.bottom + likely.offsetHeight + 8 < innerHeight || at.top < likely.offsetHeight + 8;
  likely.style.left = `${left + scrollX}px`;
  likely.style.top = `${(below ? at.bottom + 4 : at.top - likely.offsetHeight - 4) + scrollY}px`;
  shown.classList.add("chosen");
  chosenToken = shown;
}

function hideLikely() {
  box("likely").hidden = true;
  chosenToken?.classList.remove("chosen");
  chosenToken = null;
}

// Arrow keys: go to the next token, or the one before, that shows text.
function go(direction) {
  const all = [...box("text").querySelectorAll(".token")].filter(one => one.textContent);
  const place = chosenToken ? all.indexOf(chosenToken) + direction : direction > 0 ? 0 : all.length - 1;
  const next = all[Math.max(0, Math.min(all.length - 1, place))];
  if (!next) return;
  next.scrollIntoView({ block: "nearest" });
  showLikely(next);
}

box("go").addEventListener("click", start);
box("stop").addEventListener("click", () => { stopped = true; });
box("copy").addEventListener("click", async () => {
  const text = box("text").textContent;
  try {
    await navigator.clipboard.writeText(text);
    box("stats").textContent = "The text was copied.";
  } catch {
    getSelection().selectAllChildren(box("text"));  // the browser forbids it: ready for the keys
    box("stats").textContent = "The text is selected; copy it with Ctrl+C.";
  }
});
box("greedy").addEventListener("change", () => {
  for (const id of ["temperature", "top_k", "top_p", "min_p"]) box(id).disabled = box("greedy").checked;
});
box("seed").addEventListener("input", () => { box("new-seed").checked = false; });
box("colours").addEventListener("change", () => {
  box("text").classList.toggle("coloured", box("colours").checked);
  box("legend").hidden = !box("colours").checked;
});
box("text").classList.add("coloured");
for (const kind of ["pointerover", "click"]) {
  box("text").addEventListener(kind, event => {
    const shown = event.target.closest(".token");
    shown ? showLikely(shown) : hideLikely();
  });
}
box("text").addEventListener("pointerleave", hideLikely);
box("text").addEventListener("blur", hideLikely);
box("text").addEventListener("keydown", event => {
  const direction = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (direction) {
    event.preventDefault();
    go(direction);
  }
});
addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    start();
  } else if (event.key === "Escape") {
    hideLikely();
    stopped = true;
  }
});
try {
  load();
} catch (error) {
  box("problem").textContent = error.message;
  box("problem").hidden = false;
  box("stats").textContent = "";
}
