"""A small HTTP/1.1 client on the loop: what chat completions need, at a tenth of a general client's cost."""
