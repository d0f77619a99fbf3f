[
  line_length: 120,
  inputs:
    ["mix.exs", ".formatter.exs", "elixir_client/lib/**/*.ex", "tests/elixir/**/*.ex", "tests/elixir/**/*.exs"] ++
      ["tests/conformance/**/*.exs"]
]
