"""Form at /docs that sends a request from the browser, its script, and the policy under which that runs."""

import html

from gptdesk.markup import csp_source

FORM = """<form class="try" data-path="{path}"><h3>Try it</h3>{key}
<label>Body<textarea name="body" rows="{rows}" spellcheck="false" autocomplete="off">{body}</textarea></label>
<p><button>Send</button> <button type="button" name="stop" hidden>Stop</button> <span role="status"></span></p>
<pre class="answer" tabindex="0" aria-label="Answer" hidden></pre></form>"""
KEY_FIELD = """<label>Key<input name="key" type="password" autocomplete="off"></label>"""

# Numbers of an answer are shown as they came: JavaScript would round a seed above 2^53. The key stays in the page.
SCRIPT = r"""
function indented(json) {
  let depth = 0;
  const line = () => "\n" + "  ".repeat(depth);
  return json.replace(/"(?:\\.|[^"\\])*"|\[\s*\]|\{\s*\}|[{}[\],:]|\s+/g, (part) => {
    if (part[0] === '"') return JSON.stringify(JSON.parse(part));
    if (!part.trim()) return "";
    if (part.length > 1) return part[0] + part.at(-1);
    if (part === "{" || part === "[") { depth += 1; return part + line(); }
    if (part === "}" || part === "]") { depth -= 1; return line() + part; }
    return part === "," ? part + line() : part + " ";
  });
}

async function send(form, signal) {
  const { body, key } = form.elements;
  const shown = form.querySelector(".answer"), status = form.querySelector("[role=status]");
  const headers = { "Content-Type": "application/json" };
  if (key && key.value) headers.Authorization = "Bearer " + key.value.trim();
  const answer = await fetch("." + form.dataset.path, { method: "POST", headers, body: body.value, signal });
  const wait = answer.headers.get("Retry-After");
  status.textContent = `${answer.status} ${answer.statusText}` + (wait ? `, Retry-After: ${wait}` : "");
  shown.hidden = false;
  if ((answer.headers.get("Content-Type") || "").startsWith("application/json")) {
    shown.textContent = indented(await answer.text());
    return;
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) shown.append(part.value);
}

for (const form of document.querySelectorAll("form.try")) {
  const [button, stop] = form.querySelectorAll("button"), status = form.querySelector("[role=status]");
  let leaving;
  stop.addEventListener("click", () => leaving.abort());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    leaving = new AbortController();
    button.disabled = true;
    stop.hidden = false;
    status.textContent = "sent";
    form.querySelector(".answer").textContent = "";
    try {
      await send(form, leaving.signal);
    } catch (error) {
      status.textContent = error.name === "AbortError" ? "stopped" : "The desk does not answer: is it running?";
    }
    button.disabled = false;
    stop.hidden = true;
  });
  if (form.elements.key) form.elements.key.addEventListener("input", (event) => {
    for (const other of document.querySelectorAll("[name=key]")) other.value = event.target.value;
  });
}
"""


def form(path: str, body: str, *, keyed: bool) -> str:
    """Return the form that sends `body`, which can be changed, to the path; if `keyed`, with a field for the key."""
    return FORM.format(
        path=html.escape(path), key=KEY_FIELD if keyed else "", rows=body.count("\n") + 1, body=html.escape(body)
    )


def policy(*, style: str) -> str:
    """Return a Content-Security-Policy that allows this style, our script, and requests to the desk alone."""
    return (
        f"default-src 'none'; script-src {csp_source(SCRIPT)}; style-src {csp_source(style)}; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
