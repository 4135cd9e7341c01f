"""The run report: one self-contained HTML page about a run, made of sections.

A section is a module of `sections` with a function from `RunArtifacts` to a `Section`, or to None where the run has no
data for it. `compose` lists them. Sections are data (`page`); `charts` draws, `render` makes the HTML.
"""
