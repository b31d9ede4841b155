"""The version of this reprokit, written into every record."""

VERSION = "0.1.0"
