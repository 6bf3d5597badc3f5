"""The browser pages of naiad and the HTTP interface below them. Installed by `pip install "naiad[web]"`."""
