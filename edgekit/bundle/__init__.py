"""The bundle: a directory that is all an app needs, and all that passes between the stages of edgekit.

Standard library only, because the embedded runtime imports it. `edgekit.bundle.manifest` says what a bundle holds,
`edgekit.bundle.write` makes one whole or not at all, `edgekit.bundle.read` opens one without trusting it.
"""
