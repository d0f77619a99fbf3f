defmodule DSPex.MixProject do
  use Mix.Project

  @version "0.1.0"

  # Modules of libraries that are used where they are installed, and never required.
  @optional_modules [:jiffy, :json, :telemetry, :proper, :proper_types, JSON, Jason, Jason.OrderedObject] ++
                      [
                        Nx,
                        Nx.Tensor,
                        :otel_tracer,
                        :otel_span,
                        Explorer.DataFrame,
                        Plug.Conn,
                        Finch,
                        Req,
                        Snakepit,
                        Snakepit.Adapter,
                        Snakepit.Adapters.GRPCPython,
                        Snakepit.GRPCWorker,
                        ExUnit.AssertionError
                      ]

  def project do
    [
      app: :dspex,
      version: @version,
      elixir: "~> 1.14",
      description: "DSPy programs from Elixir: pooled Python workers, streaming, cancellation, tools.",
      start_permanent: Mix.env() == :prod,
      elixirc_paths: elixirc_paths(Mix.env()),
      test_paths: ["tests/elixir"],
      test_coverage: [summary: [threshold: 90], ignore_modules: [~r/^DSPex\.Test\./, ~r/^Mix\.Tasks\./]],
      xref: [exclude: @optional_modules],
      # Debian's Erlang libraries (jiffy, proper) are found on the code path, not declared as dependencies.
      prune_code_paths: false,
      # Tests make implementations of our protocol for modules of theirs.
      consolidate_protocols: Mix.env() != :test,
      deps: deps(),
      docs: docs(),
      package: package()
    ]
  end

  def application do
    [
      extra_applications: [:logger, :crypto, :inets, :ssl, :public_key] ++ test_applications(Mix.env()),
      mod: {DSPex.Application, []}
    ]
  end

  # The tests script their HTTP server by it.
  defp test_applications(:test), do: [:inets]
  defp test_applications(_env), do: []

  defp elixirc_paths(:test), do: ["elixir_client/lib", "tests/elixir/support"]
  defp elixirc_paths(_env), do: ["elixir_client/lib"]

  # Listing a Hex package makes every mix command fail where Hex itself is missing.
  defp deps do
    if Code.ensure_loaded?(Hex) do
      [
        {:jason, "~> 1.4", optional: true},
        {:telemetry, "~> 1.0", optional: true},
        {:nx, "~> 0.7", optional: true},
        {:explorer, "~> 0.8", optional: true},
        {:plug, "~> 1.14", optional: true},
        {:finch, "~> 0.17", optional: true},
        {:req, "~> 0.5", optional: true},
        {:opentelemetry_api, "~> 1.2", optional: true},
        {:ex_doc, "~> 0.31", only: :dev, runtime: false}
      ] ++ snakepit()
    else
      []
    end
  end

  # Named here so that it is compiled before the modules that are there for it. It needs a newer Elixir than this library.
  defp snakepit do
    if Version.match?(System.version(), ">= 1.18.0"), do: [{:snakepit, "~> 0.13", optional: true}], else: []
  end

  # Read by `mix docs`, where ex_doc is installed.
  defp docs do
    [
      main: "DSPex",
      extras: ["README.md" | Path.wildcard("docs/*.md")],
      groups_for_modules: [
        Programs: [
          ~r/^DSPex\.(Program|Prediction|Tool|Event|Custom|Chain|Parallel)$/,
          ~r/^DSPex\.(Predict|ChainOfThought|ReAct|BestOfN|Refine|KNN|RLM|CodeAct|ProgramOfThought|MultiChainComparison)$/,
          ~r/^DSPex\.(Signature|SignatureError|Pipeline)/
        ],
        Running: [
          ~r/^DSPex\.(Session|Options|Error|Telemetry|Trace|Testing|Cache|LM|Async|Learning|Execution)$/,
          DSPex.Router
        ],
        Tools: ~r/^DSPex\.(Doctor|Setup|Demo)/,
        Values: [DSPex.Value, DSPex.Tensor, DSPex.Table, DSPex.Bytes, DSPex.Ordered],
        Integrations: [DSPex.ServerEvents, ~r/^DSPex\.Integrations/],
        Native: ~r/^DSPex\.Native/,
        Pools: [DSPex.Breaker, ~r/^DSPex\.(Pool|Worker|Policy|Transport)/],
        Wire: ~r/^DSPex\.(Wire|Protocol)/,
        "The way of a call": ~r/^DSPex\.(Application|Check|Instance|Caller|Cached|Cache|Exchange|Runner|Router|Error)/
      ]
    ]
  end

  defp package do
    [
      licenses: ["Apache-2.0"],
      links: %{},
      files: ~w(elixir_client/lib python_bridge proto mix.exs .formatter.exs pyproject.toml
                requirements.lock requirements-uv.lock README.md LICENSE CHANGELOG.md)
    ]
  end
end
