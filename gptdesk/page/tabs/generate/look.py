"""Style sheet and script of the Generate tab: canvas, text cards, rail of settings."""

# The part of a text that was its prompt is shown paler by a veil in front of the text box, which stays an ordinary one.
# The veil holds those words once more, invisible, so that its lines break where those of the box do. What counts as
# the prompt is the prompt's text when the text began; it is looked for again when a text does not grow but is replaced.
# After Continue, the text before is the prompt. While a text is written, its box stays at its end, unless its reader
# has scrolled up; once it has ended, the beginning of what is new is in view.
# Settings are a rail at the right that the button beside Generate folds, and a sheet at the bottom of a phone.
SCRIPT = """<script>
(() => {
  const one = selector => document.querySelector(selector), all = selector => [...document.querySelectorAll(selector)];
  const say = text => window.gptdeskTexts?.[text] ?? text;  // in the page's language
  const phone = matchMedia("(max-width: 900px)"), calm = matchMedia("(prefers-reduced-motion: reduce)");
  const isWriting = () => Boolean(one("#stop") && !one("#stop").disabled);

  const seen = new WeakMap();  // text box -> its text and the prompt in front
  const promptOf = box => {
    const text = box.value, prompt = one("#prompt textarea")?.value ?? "", before = seen.get(box);
    const grows = before?.front && text.startsWith(before.text);
    let front = grows ? before.front : prompt;
    if (!text.startsWith(front)) front = text.startsWith(prompt) ? prompt : "";
    seen.set(box, {text, front});
    return front;
  };
  const hasFieldSizing = CSS.supports("field-sizing", "content");
  const grow = box => {  // as field-sizing does
    box.style.setProperty("--grown", "0");
    box.style.setProperty("--grown", box.scrollHeight + "px");
  };
  const drawVeil = box => {
    if (seen.get(box)?.text !== box.value) {
      if (!hasFieldSizing && phone.matches) grow(box);
      const front = promptOf(box), rest = box.value.slice(front.length).match(/^\\S*/)[0];
      let veil = box.parentElement.querySelector(".veil");
      if (!veil) {
        veil = document.createElement("div");
        veil.className = "veil";
        veil.setAttribute("aria-hidden", "true");
        veil.append(document.createElement("p"));
        veil.firstChild.append(document.createElement("mark"), "");
        box.parentElement.append(veil);
        box.addEventListener("scroll", () => placeVeil(box));
      }
      veil.querySelector("mark").textContent = front;
      veil.firstChild.lastChild.textContent = rest;
    }
    placeVeil(box);
  };
  const placeVeil = box => {
    const veil = box.parentElement.querySelector(".veil");
    if (!veil) return;
    const {offsetLeft: left, offsetTop: top, clientWidth: width, clientHeight: height, clientLeft, clientTop} = box;
    const place = [left + clientLeft, top + clientTop, width, height].join();
    if (veil.dataset.place !== place) {
      const {font, letterSpacing, padding} = getComputedStyle(box);
      Object.assign(veil.style, {left: left + clientLeft + "px", top: top + clientTop + "px", width: width + "px",
        height: height + "px", font, letterSpacing, padding});
      veil.dataset.place = place;
    }
    veil.firstChild.style.marginTop = -box.scrollTop + "px";
  };
  const ends = new WeakMap(), grown = new Set();  // text box -> its lowest scroll position; boxes that are written
  const lengths = new WeakMap();  // text box -> length of its text at the last look
  let late = 100;  // looks since the end, which may be drawn after Stop has been disabled
  const follow = () => {
    late = isWriting() ? 0 : late + 1;
    if (late > 5) { grown.clear(); hasScrolled = false; }
    for (const box of all("[id^=text-] textarea")) {
      const isAtEnd = box.scrollTop >= (ends.get(box) ?? 0) - 40;
      if (late <= 5) {
        if (lengths.get(box) !== box.value.length) {
          if (!grown.size && !hasScrolled && phone.matches) showNewWords(box);
          grown.add(box);
        }
        if (grown.has(box) && isAtEnd) box.scrollTop = box.scrollHeight;
      } else if (late === 6 && grown.has(box) && isAtEnd) {
        const mark = box.parentElement.querySelector(".veil mark"), {lineHeight} = getComputedStyle(box);
        const start = mark ? mark.offsetTop + mark.offsetHeight + box.scrollTop : 0;
        const above = 2 * parseFloat(lineHeight);  // of the text before
        box.scrollTop = start < box.clientHeight / 2 ? 0 : start - above;
      }
      ends.set(box, box.scrollTop);
      lengths.set(box, box.value.length);
    }
  };
  let hasScrolled = false;  // the reader, while a text is written
  for (const kind of ["wheel", "touchmove"]) addEventListener(kind, () => { hasScrolled = true; }, {passive: true});
  const showNewWords = box => {  // on a phone the text is as high as its prompt: its first new word comes into view
    drawVeil(box);
    const mark = box.parentElement.querySelector(".veil mark")?.getBoundingClientRect();
    if (mark && mark.bottom > innerHeight - 80)
      scrollBy({top: mark.bottom - innerHeight / 3, behavior: calm.matches ? "instant" : "smooth"});
  };
  const drawVeils = () => all("[id^=text-] textarea").forEach(drawVeil);
  addEventListener("input", event => { if (event.target.matches?.("[id^=text-] textarea")) drawVeils(); });
  addEventListener("resize", () => {
    if (!hasFieldSizing && phone.matches) all("[id^=text-] textarea").forEach(grow);
    drawVeils();
  });

  let sheetOpener = null, isFolded = false;
  const mark = (name, on) => one("#generate-row")?.toggleAttribute(`data-${name}`, on);  // for the style sheet
  try { isFolded = localStorage.getItem("gptdesk-rail") === "folded"; } catch {}
  const fold = folded => {
    isFolded = folded;
    try { localStorage.setItem("gptdesk-rail", folded ? "folded" : "open"); } catch {}
    showRail();
  };
  const showRail = () => {
    mark("folded", isFolded);
    mark("sheet", Boolean(sheetOpener));
    const button = one("#rail-button"), rail = one("#rail");
    if (!button || !rail) return;
    button.setAttribute("aria-controls", "rail");
    button.setAttribute("aria-expanded", phone.matches ? Boolean(sheetOpener) : !isFolded);
    for (const [name, value] of [["role", "dialog"], ["aria-modal", "true"], ["aria-labelledby", "rail-title"]])
      phone.matches ? rail.setAttribute(name, value) : rail.removeAttribute(name);
  };
  const openSheet = opener => {
    sheetOpener = opener;
    showRail();
    one("#rail-close").focus();
  };
  const closeSheet = () => {
    const opener = sheetOpener;
    sheetOpener = null;
    showRail();
    opener?.focus({preventScroll: true});
  };
  addEventListener("focusin", event => {  // what is behind the sheet is out of reach
    if (sheetOpener && !event.target.closest("#rail")) one("#rail-close").focus();
  });
  phone.addEventListener("change", () => { if (sheetOpener) closeSheet(); showRail(); });

  const copy = async button => {
    const box = button.closest(".text-card").querySelector("textarea");
    try { await navigator.clipboard.writeText(box.value); }
    catch { box.select(); document.execCommand("copy"); }  // a page without https has no clipboard
    const label = button.textContent;
    button.textContent = say("Copied");
    one("#live").textContent = say("Copied");
    setTimeout(() => { button.textContent = label; }, 1500);
  };
  addEventListener("click", event => {
    const box = event.target.closest?.("[id^=continue-]")?.closest(".text-card").querySelector("textarea");
    if (box) seen.set(box, {text: box.value, front: box.value});
  }, true);
  addEventListener("click", event => {
    const target = event.target.closest?.("button, #rail") ?? event.target;
    if (target.id === "rail-button") phone.matches ? openSheet(target) : fold(!isFolded);
    else if (target.id === "rail-close" || sheetOpener && !event.target.closest?.("#rail")) closeSheet();
    else if (target.classList?.contains("copies")) copy(target);
  });
  addEventListener("keydown", event => {
    if (event.key !== "Escape" || !sheetOpener || one("[role=listbox]")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    closeSheet();
  }, true);

  // names and hints of buttons that are there several times
  const nameCards = () => {
    for (const card of all(".text-card")) {
      const label = card.querySelector("[data-testid=block-info]")?.innerText.trim();
      for (const button of card.querySelectorAll(".card-actions button")) {
        const name = `${button.textContent.trim()}: ${label}`;
        if (button.getAttribute("aria-label") !== name) button.setAttribute("aria-label", name);
        if (button.matches(".keeps")) button.title = say("Keep this text alone; Undo brings back the others");
      }
    }
    const show = one("#show-me");
    if (show) show.title = say("Write a story from an example, to see what it does");
  };
  let shownCode = null, isChanged = false;  // the settings of the code that is shown
  const updateCode = () => {
    if (!one("#request-code")?.checkVisibility()) { shownCode = null; return; }
    const settings = [...all("#prompt textarea, #rail :is(input, textarea)")]
      .map(box => box.type === "checkbox" ? box.checked : box.value);
    settings.push(...[...all("#chain .token")].map(token => token.innerText));
    const now = settings.join("\\n");
    if (isChanged && now === shownCode) one("#code-update").click();  // once it has stayed the same
    isChanged = now !== shownCode;  // also at the first look: something may have changed since the code was asked for
    shownCode = now;
  };
  let look = 0, isOpen = false;
  setInterval(() => {
    // the button of the first visit: not there if a text was, but it stays where it is once there is one
    if (!isOpen) mark("returning", Boolean(one("#text-1 textarea:not(:placeholder-shown)")));
    isOpen = document.documentElement.matches(".appeared");
    mark("writing", isWriting());
    follow();
    if (look++ % 5 === 0) { showRail(); nameCards(); updateCode(); }
    if (isWriting() || look % 3 === 0) drawVeils();
  }, 100);
  showRail();
})();
</script>"""

CSS = """
#generate-row { flex-wrap: nowrap; align-items: flex-start; justify-content: center; gap: 24px; }
#writing { flex: 1 1 0 !important; min-width: 0 !important; max-width: 1080px; gap: 12px; }
#rail { flex: 0 0 340px !important; min-width: 0 !important; gap: 12px; }
#rail-head { display: none; }
#generate-row[data-folded] #rail { display: none; }
#canvas { gap: 0; background: var(--block-background-fill); border: 1px solid var(--border-color-primary);
  border-radius: 14px; padding: 6px 0 10px; box-shadow: 0 1px 3px #0000000d; }
#canvas .block, #canvas .form { border: 0 !important; box-shadow: none; background: none; border-radius: 0; }
#canvas .form { gap: 0; }
/* in line with what lies around it, with room for the ring of the focus beside the text */
#canvas textarea { border: 0; box-shadow: none !important; background: none; border-radius: 4px; padding: 4px 8px;
  margin: 0 -8px; width: calc(100% + 16px); font-size: 1.06rem; line-height: 1.6; }
#canvas :is(#prompt, .text-card > .form > .block, .text-card > .block) { padding: 10px 20px 4px; }
#canvas #prompt:focus-within, #canvas .text-card:focus-within { box-shadow: inset 3px 0 var(--color-accent); }
#canvas .note { padding: 0; margin: 0; }
#canvas > .note { padding: 0 20px; }
#under-prompt { padding: 0 20px 6px; align-items: baseline; gap: 4px 16px; }
#under-prompt > * { flex: 0 1 auto !important; width: auto; }
#canvas #prompt-options { padding: 0; margin: 0 0 0 auto; }
#canvas #prompt-options:has(> .open) { flex: 1 1 100% !important; }
#prompt-options > .label-wrap { margin-left: auto; }
#canvas #examples { padding: 4px 20px 8px; }
#canvas #examples button, #canvas .card-actions button { border-radius: 999px; padding: 4px 12px; }
#canvas #buttons { padding: 10px 20px; gap: 10px; border-bottom: 1px solid var(--border-color-primary);
  border-top: 1px solid var(--border-color-primary); }
#buttons button { flex: 0 1 auto; }
#buttons :is(#generate, #stop) { flex: 0 1 180px; }
#buttons #rail-button { margin-left: auto; }
#canvas:has(#text-1 textarea:placeholder-shown) #show-me { font-weight: 700 !important; }
#canvas:has(#text-1 textarea:not(:placeholder-shown)) #show-me { color: var(--button-secondary-text-color);
  background: var(--button-secondary-background-fill); }  /* an example like the others, once there is a text */
#generate-row[data-returning] #show-me,
html:not(.appeared) #canvas:has(#text-1 textarea:not(:placeholder-shown)) #show-me { display: none; }
html:not(.appeared) #show-me { visibility: hidden; }  /* a text may be on its way */
.text-card { gap: 0 !important; }
#text-1 textarea:placeholder-shown { min-height: 10rem; }
.text-card + .text-card { border-top: 1px solid var(--border-color-primary); }
.text-card .input-container { position: relative; }
.veil { position: absolute; z-index: 3; overflow: hidden; pointer-events: none; box-sizing: border-box;
  color: transparent; --veil: color-mix(in srgb, var(--block-background-fill) 38%, transparent); }
.veil p { margin: 0; font: inherit; white-space: pre-wrap; overflow-wrap: break-word; unicode-bidi: plaintext;
  text-align: start; color: transparent; }
.veil mark { background: var(--veil); color: transparent; box-shadow: 0 .25em var(--veil), 0 -.25em var(--veil); }
@media (forced-colors: active) { .veil { display: none; } }
.card-actions { padding: 0 20px 10px; gap: 8px !important; }
.card-actions button { flex: 0 0 auto !important; }
#generate-row[data-writing] :is(.card-actions, #show-me) { visibility: hidden; }
.text-card:has(textarea:placeholder-shown) .card-actions, #canvas:not(:has(#text-2)) .keeps { display: none; }
#after-text { padding: 4px 20px 0; gap: 8px; }
#after-text:not(:has(button)) { display: none; }
#after-text button { flex: 0 0 auto; padding: 4px 12px; border-radius: 999px; }
/* Stop stays in reach of a text further down */
#generate-row[data-writing] #buttons { position: sticky; inset-block: 0; z-index: 5;
  background: var(--block-background-fill); }
#figures { font-variant-numeric: tabular-nums; }
.quiet > button.label-wrap { font-size: .875rem; color: var(--body-text-color-subdued); width: auto; gap: 6px; }
#canvas .quiet { padding: 4px 20px; }
.save-as { align-items: flex-end; }
.save-as > button { flex: 0 0 auto; margin-bottom: 10px; }
@media (max-width: 900px) {
  #generate-row { flex-wrap: wrap; }
  /* texts are as high as what they say, so that a finger scrolls the page alone */
  #canvas .text-card textarea { field-sizing: content; min-height: 3.5rem; overflow-y: hidden !important;
    height: var(--grown, auto) !important; max-height: none !important; }
  #rail, #generate-row[data-folded] #rail { display: none; }
  #generate-row[data-sheet] #rail { display: flex; position: fixed; inset: auto 0 0; z-index: 50; max-height: 92dvh;
    overflow: auto; flex-wrap: nowrap; background: var(--body-background-fill); padding: 0 16px 24px;
    border-radius: 16px 16px 0 0;
    overscroll-behavior: contain; animation: sheet .16s ease-out; }
  #generate-row[data-sheet]::before { content: ""; position: fixed; inset: 0; z-index: 49; background: #0009; }
  #generate-row[data-sheet] #rail > * { flex-shrink: 0; }
  #rail-head { display: block; position: sticky; top: 0; z-index: 41;  /* labels have 40 */
    background: var(--body-background-fill); padding: 12px 0 8px; }
  #rail-head .prose { display: flex; align-items: center; justify-content: space-between; padding: 0; }
  #rail-head h2 { margin: 0; font-size: 1.1rem; }
  #rail-close { padding: 8px 14px; border-radius: 999px; border: 1px solid var(--border-color-primary); }
  #canvas > .note, #under-prompt, #after-text, #canvas #examples, #canvas #buttons, .card-actions {
    padding-left: 14px; padding-right: 14px; }
  #canvas :is(#prompt, .text-card > .form > .block, .text-card > .block) { padding-left: 14px; padding-right: 14px; }
  .card-actions { gap: 6px !important; }
  #canvas .card-actions button { padding-left: 8px; padding-right: 8px; }
  #buttons { gap: 8px !important; }
  #canvas #buttons button { min-width: 0; padding-left: 10px; padding-right: 10px; }
  #canvas #buttons :is(#undo, #rail-button) { font-size: .875rem; }
  #buttons :is(#generate, #stop) { flex: 1 1 auto; max-width: 180px; }
  #canvas .quiet { padding-left: 14px; padding-right: 14px; }
}
@keyframes sheet { from { translate: 0 40px; opacity: 0; } }
@media (prefers-reduced-motion: reduce) { #generate-row[data-sheet] #rail { animation: none; } }
"""
