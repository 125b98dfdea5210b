"""How results are shown: tables as terminal, Markdown, CSV and JSON, pictures, and one HTML page. No torch."""
