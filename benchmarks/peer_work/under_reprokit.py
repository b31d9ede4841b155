"""The work under reprokit."""

import work

import reprokit

with reprokit.run("work"):
    work.main()
