"""Style of the page at /docs, light and dark."""

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 82rem; margin: 2rem auto; padding: 0 1rem; color: #1e293b;
  background: #fff; }
p, li { max-width: 60rem; }
h2 { border-top: 1px solid #cbd5e1; padding-top: 1.5rem; margin-top: 2rem; } h2 code { font-size: 1.1rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; } h2, h3 { overflow-wrap: anywhere; }
nav ul { columns: 20rem; padding-left: 1.2rem; }
pre { background: #f1f5f9; padding: .8rem 1rem; overflow: auto; border-radius: 6px; max-height: 28rem; }
.answer { white-space: pre-wrap; overflow-wrap: anywhere; }
.box { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: 4px 16px 4px 0; vertical-align: top; border-bottom: 1px solid #e2e8f0;
  white-space: nowrap; }
td:last-child, th span { white-space: normal; min-width: 18rem; } th[scope=rowgroup] { padding-top: 1rem; }
th span { font-weight: normal; } td code { white-space: nowrap; }
label { display: block; margin: .4rem 0; } input, textarea, button { font: inherit; }
textarea { font: .9rem/1.5 ui-monospace, monospace; } input, textarea { display: block; box-sizing: border-box;
  width: 100%; padding: .4rem .6rem; border: 1px solid #64748b; border-radius: 6px; background: #fff; color: inherit; }
input { max-width: 24rem; } a { color: #0f766e; }
button { padding: .4rem 1.2rem; border: 1px solid #64748b; border-radius: 6px; background: #f1f5f9; color: inherit; }
button:disabled { opacity: .6; }
@media (prefers-color-scheme: dark) { body { background: #0b0f19; color: #e2e8f0; }
  pre, button { background: #1e293b; } input, textarea { background: #0b0f19; }
  th, td { border-color: #334155; } h2 { border-color: #475569; } a { color: #5eead4; } }
"""
