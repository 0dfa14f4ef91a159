"""Script of the Train tab: a long text becomes a file, a row opens its run, a preview is scrolled to."""

from gptdesk.page.tabs.train.text_source import FILES, LONGEST_PASTED

# A text box with megabytes blocks the browser, and each of its changes would send them all again.
SCRIPT = """<script>
(() => {
  const most = LONGEST_PASTED, one = selector => document.querySelector(selector);
  const when = (find, then, tries = 200) => {
    const found = find();
    if (found) then(found);
    else if (tries) setTimeout(() => when(find, then, tries - 1), 50);
  };
  const handOver = text => {
    const files = new DataTransfer();
    files.items.add(new File([text], "pasted.txt", {type: "text/plain"}));
    one('#train-source input[value="FILES"]')?.click();
    when(() => one("#train-files input[type=file]"), input => {
      input.files = files.files;
      input.dispatchEvent(new Event("change", {bubbles: true}));
    });
  };
  const isText = event => event.target.matches?.("#train-text textarea");
  addEventListener("beforeinput", event => {  // pasted or dropped
    const text = isText(event) ? event.data : null;
    if (!text || text.length <= most) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    handOver(text);
  }, true);
  addEventListener("input", event => {
    const text = isText(event) ? event.target.value : "";
    if (text.length <= most) return;
    event.stopImmediatePropagation();
    event.target.value = "";
    event.target.dispatchEvent(new Event("input", {bubbles: true}));
    handOver(text);
  }, true);
  addEventListener("click", event => {
    const row = event.target.closest?.("#runs-table button[data-run]");
    if (row) {
      window.openedRun = row.dataset.run;
      one("#runs-open")?.click();
    }
    if (!event.target.closest?.("#train-preview")) return;
    const isDone = () => one("#train-preview:not(:disabled)") && one("#train-facts .tiles, #train-line p");
    setTimeout(() => when(isDone, () => one("#train-facts .tiles")?.scrollIntoView({block: "nearest"}), 12_000), 500);
  }, true);
})();
</script>""".replace("LONGEST_PASTED", str(LONGEST_PASTED)).replace("FILES", FILES)
