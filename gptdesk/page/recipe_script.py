"""Script of the page that opens a link with a recipe in the History tab, where the tab shows it at its top."""

# The fragment is read once and taken away, so that loading the page again opens nothing. Nothing is computed by it.
RECIPE_SCRIPT = """<script>
(() => {
  const one = selector => document.querySelector(selector);
  const when = (find, then, tries = 600) => {
    const found = find();
    if (found) then(found);
    else if (tries) setTimeout(() => when(find, then, tries - 1), 50);
  };
  const show = shown => {
    shown.scrollIntoView({block: "start"});
    const title = shown.querySelector("h3") ?? shown;
    title.tabIndex = -1;
    title.focus({preventScroll: true});
  };
  const explain = () => {
    const text =
      "This link holds a recipe. A public desk opens none: paste the link under Open a recipe in your own GPT Desk.";
    const note = document.createElement("p");
    note.role = "alert";
    note.textContent = window.gptdeskTexts?.[text] ?? text;  // in the page's language
    one("#tabs").before(note);
  };
  const openLink = () => {
    const link = location.hash;
    if (!link.startsWith("#recipe=")) return;
    history.replaceState(null, "", location.pathname + location.search);
    when(() => one(".restored") && one("#tabs [role=tab]"), () => {
      const tab = one('[role=tab][data-tab-id="History"]');
      if (!tab) return explain();
      tab.click();
      when(() => one("#recipe-link :is(input, textarea)"), text => {
        text.value = link;
        text.dispatchEvent(new Event("input", {bubbles: true}));
        when(() => one("#recipe") ?? one("#recipe-fault p"), show);
      });
    });
  };
  addEventListener("hashchange", openLink);
  openLink();
})();
</script>"""
