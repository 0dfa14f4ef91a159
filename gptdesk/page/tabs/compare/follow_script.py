"""Script that brings the results of an action into view when the first of them comes."""

# The row of the button goes to the top, so that Stop stays in reach. Readers who have scrolled or pressed anything
# since the start stay where they are.
SCRIPT = """<script>
(() => {
  const RESULTS = {"watch": ".panes:has(#watch-1)", "measure": "#headlines", "blind": ".panes:has(#blind-left)"};
  const BELOW = {"watch": "#watch-parting", "measure": "#headlines", "blind": "#tally"};
  let button = null, before = "";
  const results = () => document.querySelector(RESULTS[button.id]);
  const textOf = box => [...box.childNodes].map(node => node.className === "given" ? "" : node.textContent).join("");
  const content = () => [...results()?.querySelectorAll(".text, .headlines") ?? []].map(textOf).join("");
  const look = () => {
    const now = content();
    if (!now) before = "";
    if (now === before || !results().checkVisibility()) return;
    const {top} = results().getBoundingClientRect();
    const {bottom} = document.querySelector(BELOW[button.id]).getBoundingClientRect();
    if (top >= 0 && bottom <= innerHeight) return;
    const away = button.closest(".actions").getBoundingClientRect().top - 8;
    const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth";
    if (Math.abs(away) > 1) scrollBy({top: away, behavior});
  };
  const observer = new MutationObserver(look);
  const leave = () => { observer.disconnect(); };
  for (const act of ["wheel", "touchmove", "pointerdown", "keydown"]) addEventListener(act, leave, true);
  addEventListener("click", event => {
    const pressed = event.target.closest?.(".actions > .starts");
    if (!RESULTS[pressed?.id]) return;
    leave();
    button = pressed;
    before = content();
    observer.observe(document.getElementById("view-Compare"), {childList: true, subtree: true, characterData: true});
  }, true);
})();
</script>"""
