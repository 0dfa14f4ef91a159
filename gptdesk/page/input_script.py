"""Script of the page for its inputs: number boxes, lists, radio groups, the seed, and texts edited by hand."""

# A number box of a slider that was emptied gets back the number it had. One beyond the slider's range gets the nearest
# number in it, as Gradio makes it, and a note that says so; so does one whose maximum falls with the model's context,
# unless a number comes with the new maximum: Gradio sets it a moment later.
# A number box that gets the focus has its number selected, so that what is typed replaces it.
# All listen on the way down, before Gradio does.
# The reset button of a sampler's slider gives back the value of the preset, and not what the page began with.
# Tab leaves a list without Gradio's key handler, which would open the list again after the focus has left it. The key
# before may still be on its way there, so lists that are open without the focus are closed a little later.
# The radios of a group get one name, by which the browser gives it one Tab stop and the arrow keys; Gradio gives each
# radio a name of its own, and another one at every change.
# Gradio's input event of a text box knows no paste, so the browser's own is used.
INPUT_SCRIPT = """<script>
const numbers = new WeakMap();  // number box of a slider -> the last number in it
const numberBox = event => event.target.matches?.(".slider_input_container input, .head input[type=number]")
  ? event.target.closest(".block")?.querySelector("input[type=number]") : null;
addEventListener("focus", event => {
  const box = numberBox(event);
  if (box && box.value !== "") numbers.set(box, box.value);
}, true);
let entered = null;  // number box that has just got the focus: what is typed replaces its number
addEventListener("focusin", event => {
  entered = event.target.matches?.("input[type=number]") ? event.target : null;
  entered?.select();
});
addEventListener("mouseup", event => {  // which would take the selection back
  const box = event.target;
  if (box === entered) setTimeout(() => { if (document.activeElement === box) box.select(); });
  entered = null;
});
addEventListener("input", event => {
  numberBox(event)?.closest(".block").querySelector(".range-note")?.remove();
  const seed = event.target.closest?.("#seed") && document.querySelector("#new-seed input");
  if (seed?.checked) seed.click();
  if (event.target.closest?.("[id^=text-]")) {
    clearTimeout(window.editing);
    window.editing = setTimeout(() => document.getElementById("text-edited")?.click(), 300);
  }
}, true);
addEventListener("blur", event => {
  const box = numberBox(event);
  if (!box || box !== event.target) return;
  if (box.value === "") {
    if (!numbers.has(box)) return;
    box.value = numbers.get(box);
    box.dispatchEvent(new Event("input", {bubbles: true}));
  }
  sayRange(box);
}, true);
const sayRange = box => {
  const [typed, low, high] = [box.value, box.min, box.max].map(Number);
  if (typed >= low && typed <= high) return;
  const note = document.createElement("p");
  note.className = "range-note";
  note.setAttribute("role", "status");
  const name = box.closest(".block").querySelector("label")?.innerText.split("\\n")[0].trim() || "This";
  note.textContent = `${name} is between ${low} and ${high}: ${typed} became ${typed < low ? low : high}.`;
  box.closest(".block").querySelector(".range-note")?.remove();
  box.closest(".head").after(note);
};
const lower = box => {
  if (Number(box.value) <= Number(box.max)) return;
  const typed = box.value;
  box.value = box.max;
  box.dispatchEvent(new Event("input", {bubbles: true}));
  box.value = typed;
  sayRange(box);
  box.value = box.max;
};
new MutationObserver(changes => {
  for (const {target: box} of changes) {
    if (box.matches("[id$=max-new-tokens] input[type=number]")) setTimeout(lower, 50, box);
  }
}).observe(document, {subtree: true, attributeFilter: ["max"]});
addEventListener("click", event => {
  const slider = event.target.closest?.(".reset-button")?.closest("[class*=preset-option]");
  const prefix = slider && [...slider.classList].find(name => name.endsWith("preset-option")).slice(0, -6);
  const reset = slider && document.getElementById(`${prefix}reset`);
  if (!reset) return;
  event.stopImmediatePropagation();
  window.resetOption = slider.id;
  reset.click();
}, true);
addEventListener("keydown", event => {
  if (["Tab", "Shift"].includes(event.key) && event.target.matches?.("input[role=combobox]"))
    event.stopImmediatePropagation();
}, true);
// closes the lists that are open, by default those without the focus; false if there are none
window.closeLists = (isLeft = list => list !== document.activeElement) => {
  const lists = [...document.querySelectorAll("input[role=combobox][aria-expanded=true]")].filter(isLeft);
  for (const list of lists) list.dispatchEvent(new FocusEvent("blur"));
  return lists.length > 0;
};
addEventListener("focusout", event => {
  if (event.target.matches?.("input[role=combobox]")) for (const ms of [60, 300, 1000]) setTimeout(closeLists, ms);
});
const groups = new WeakMap();  // radio group -> name of its radios
let groupCount = 0;
const nameRadios = group => {
  if (!groups.has(group)) groups.set(group, `radios-${++groupCount}`);
  for (const radio of group.querySelectorAll("input[type=radio]"))
    if (radio.name !== groups.get(group)) radio.name = groups.get(group);
};
new MutationObserver(changes => {
  const found = new Set();
  for (const {type, target, addedNodes} of changes) {
    if (type === "attributes") found.add(target.closest("fieldset"));
    for (const node of addedNodes) {
      if (node.matches?.("fieldset *")) found.add(node.closest("fieldset"));
      else node.querySelectorAll?.("fieldset").forEach(group => found.add(group));
      if (node.matches?.("fieldset")) found.add(node);
    }
  }
  found.delete(null);
  found.forEach(nameRadios);
}).observe(document, {subtree: true, childList: true, attributeFilter: ["name"]});
// as if typed, so that Ctrl+Z in the box brings back what was there
window.putText = (selector, text) => {
  const box = document.querySelector(selector);
  box.focus();
  box.select();
  document.execCommand("insertText", false, text);
  if (matchMedia("(pointer: coarse)").matches) box.blur();  // no keyboard over the page of a phone
};
</script>"""

INPUT_CSS = """
.range-note { margin: -8px 0 6px; font-size: .85rem; color: var(--body-text-color); }
textarea, input[type=text], .pane .text { unicode-bidi: plaintext; text-align: start; }
"""

# before an example's event: puts the example into the prompt, and sends on what was there
PUT_TEXT = '(text, ...rest) => { window.putText("#prompt textarea", text); return [text, ...rest]; }'
