"""Script of the page that copies the link of a recipe and the table of a grid, and says whether that was possible."""

# Without a secure context (a desk in the local network) a browser has no clipboard for scripts, but copies what is
# selected. The cells are lines with tabs between them, for a spreadsheet; a merged cell has its text in each place.
COPY_SCRIPT = r"""<script>
(() => {
  const one = selector => document.querySelector(selector);
  const say = text => window.gptdeskTexts?.[text] ?? text;  // in the page's language
  const copy = async (text, status, success) => {
    let isDone = true;
    try { await navigator.clipboard.writeText(text); } catch {
      const box = document.body.appendChild(document.createElement("textarea"));
      box.style.cssText = "position: fixed; top: 0; opacity: 0";
      box.value = text;
      box.select();
      isDone = document.execCommand("copy");
      box.remove();
    }
    status.textContent = isDone ? success : say("The browser does not allow copying; save the file instead.");
  };
  const copyLink = status => {
    const isLocal = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
    const note = isLocal ? say("Link copied. It opens on this computer only; elsewhere, paste it under Open a recipe.")
      : say("Link copied.");
    copy(location.origin + location.pathname + status.dataset.recipe, status, note);
  };
  const copyTable = grid => {
    const places = [];
    [...grid.querySelectorAll("tr")].forEach((row, y) => {
      places[y] ??= [];
      let x = 0;
      for (const cell of row.children) {
        while (places[y][x] !== undefined) x++;
        const text = (cell.querySelector(".text") ?? cell).textContent.replace(/\s+/g, " ").trim();
        for (let i = 0; i < cell.rowSpan; i++)
          for (let j = 0; j < cell.colSpan; j++) (places[y + i] ??= [])[x + j] = text.replace(/^(?=[=+\-@])/, "'");
      }
    });
    copy(places.map(line => line.join("\t")).join("\n"), grid.querySelector(".copied"), say("Copied"));
  };
  addEventListener("click", event => {
    const status = event.target.closest?.("#history-copy-link") && one("#history-link [data-recipe]");
    if (status?.dataset.recipe) copyLink(status);
    if (event.target.closest?.(".copy-grid")) copyTable(event.target.closest("#grid-table"));
  });
})();
</script>"""
