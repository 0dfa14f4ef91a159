"""Style sheet of the Train tab."""

CSS = """
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(116px, 1fr)); gap: 8px; }
.tiles > div { border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg); padding: 8px 10px;
  background: var(--background-fill-primary); }
.tiles span { display: block; font-size: .75rem; opacity: .75; }
.tiles b { font-size: 1.05rem; font-variant-numeric: tabular-nums; font-weight: 700; }
.tiles small { display: block; font-size: .75rem; opacity: .75; min-height: 1.1em; }
.bare .bar { height: 6px; border-radius: 3px; overflow: hidden; margin-bottom: 10px;
  background: var(--border-color-primary); }
.bar i { display: block; height: 100%; background: var(--color-accent); }
.row-of-text { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--border-color-primary);
  border-radius: var(--radius-lg); padding: 8px 12px; margin-bottom: 8px; max-height: 9rem; overflow-y: auto;
  font-size: .9rem; line-height: 1.7; background: var(--background-fill-primary); }
.row-of-text span { border-radius: 3px; padding: 2px 0; }
.row-of-text span:nth-child(odd) { background: rgba(13, 148, 136, .18); }
#train-outdated:not(:has(~ #train-facts .tiles)) { display: none; }
#train-outdated:has(p) ~ :is(#train-facts, #train-remarks, #train-rows) { opacity: .45; }
.small-charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 10px; }
.samples { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 10px; }
#runs-table button { color: inherit !important; background: none !important; padding: 0 !important; 
  text-decoration: underline; text-align: left; font-weight: 600; }
.samples .pane .text { min-height: 6rem; }
#run-buttons button { white-space: nowrap; }
@media (max-width: 640px) {
  #run-buttons button { white-space: normal; }
  #run-buttons { gap: 8px; }
  #run-buttons button { flex: 1 1 40% !important; min-width: 0 !important; padding-left: 8px; padding-right: 8px; }
  /* whole lines: 12, the padding above and the border */
  #train-text textarea { line-height: 24px; padding-block: 10px 0; max-height: 300px !important; }
}
"""
