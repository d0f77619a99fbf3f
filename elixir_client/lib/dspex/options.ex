defmodule DSPex.Options do
  @moduledoc """
  Options are data: one table says what is allowed, validates it, gives the defaults and writes the docs. A problem names
  the path of the option and what is allowed there.
  """

  @pool [
    workers: [type: {:integer, 1, 128}, default: 2, doc: "Python processes"],
    lm: [type: :text, doc: "model of the default LM, as `\"openai/gpt-4o-mini\"` or `\"offline/extractive\"`"],
    settings: [
      type: :map,
      default: %{},
      doc: "further settings of the worker (`DSPEX_…` without the prefix, lower case)"
    ],
    python: [type: :text, doc: "interpreter or venv (`DSPEX_PYTHON`, `.venv` here, or `python3`)"],
    extras: [
      type: {:list, :text},
      doc: "optional parts that its Python must have, as `[\"mlflow\", \"arrow\"]` (`mix dspex.setup --extras`)"
    ],
    args: [type: {:list, :text}, default: [], doc: "further arguments of `python -m python_bridge worker`"],
    command: [type: {:list, :text}, doc: "a whole command line, in the place of Python"],
    env: [type: :pairs, default: [], doc: "environment of the process; `false` removes a variable"],
    cd: [type: :text, doc: "its working folder"],
    transport: [type: :transport, doc: "`{module, options}` of a transport, in the place of a process"],
    start: [
      type: {:in, [:auto, :fork_server, :fresh, :snakepit]},
      default: :auto,
      doc:
        "how its processes start: as forks of one that has loaded dspy, each by itself, or the first of these that works " <>
          "(forks on Linux); or those of a Snakepit pool, of which there are as many as Snakepit has"
    ],
    snakepit_pool: [type: :name, doc: "the pool of Snakepit's, with `start: :snakepit` (its default one)"],
    encoding: [type: {:in, [:json, :msgpack]}, default: :json, doc: "encoding of envelopes"],
    max_in_flight: [type: {:integer, 1, 100_000}, default: 256, doc: "calls at once on one worker"],
    queue_limit: [
      type: {:integer, 0, 1_000_000},
      default: 1_000,
      doc: "callers that may wait when all workers are full"
    ],
    queue_timeout: [type: :timeout, default: 10_000, doc: "ms that they wait"],
    max_frame_bytes: [type: {:integer, 1024, 536_870_911}, default: 67_108_864, doc: "largest frame that is accepted"],
    attachment_bytes: [
      type: {:integer, 0, 536_870_911},
      doc: "bytes above which byte strings, tensors and tables travel beside the message, both ways"
    ],
    max_backlog: [
      type: {:integer, 1024, 1_099_511_627_776},
      default: 134_217_728,
      doc: "bytes that may wait to be written to a worker"
    ],
    handshake_timeout: [type: {:integer, 1, 3_600_000}, default: 20_000, doc: "ms until `initialize` is answered"],
    version_mismatch: [
      type: {:in, [:refuse, :allow]},
      default: :refuse,
      doc: "what to do with a worker whose Python package does not fit the version of this one"
    ],
    ready_timeout: [type: {:integer, 1, 3_600_000}, default: 120_000, doc: "ms from there until dspy is loaded"],
    ping_interval: [type: {:integer, 10, 3_600_000}, default: 2_000, doc: "ms between pings"],
    ping_misses: [type: {:integer, 1, 1_000}, default: 4, doc: "pings without an answer until the process is killed"],
    backoff: [
      type: :backoff,
      default: [first: 100, most: 10_000],
      doc: "ms before a restart: `first`, doubled up to `most`"
    ],
    backoff_reset: [
      type: {:integer, 0, 3_600_000},
      default: 10_000,
      doc: "ms of being ready after which the back-off begins anew"
    ],
    breaker: [
      type: :breaker,
      default: [failures: 10, open_ms: 5_000],
      doc: "`failures` in a row that open a circuit breaker (of the pool, of an LM), and ms until it is probed"
    ],
    max_rss: [
      type: {:integer, 1_048_576, 1_125_899_906_842_624},
      doc: "bytes of resident memory above which a worker is killed and replaced"
    ],
    memory_soft: [
      type: {:integer, 0, 1_125_899_906_842_624},
      doc: "bytes from which on it finishes its calls and is replaced"
    ],
    max_calls: [type: {:integer, 0, 1_000_000_000}, doc: "calls after which it finishes and is replaced"],
    max_age: [type: {:integer, 0, 31_536_000_000}, doc: "ms after which it finishes and is replaced"],
    nice: [type: {:integer, -20, 19}, doc: "niceness of its processes"],
    cpus: [type: :text, doc: "processors that they may use, as `\"0-3,6\"`"],
    gpu: [type: :text, doc: "devices that they may see, as `\"0,1\"` or `\"none\"`"],
    lms: [
      type: :tables,
      doc: "further LMs by name, as `[small: [model: \"openai/gpt-4o-mini\", api_key_env: \"OPENAI_API_KEY\"]]`"
    ],
    embedders: [
      type: :embedders,
      doc:
        "embedders by name, as `[small: [model: \"openai/text-embedding-3-small\", api_key_env: \"OPENAI_API_KEY\"]]`"
    ],
    drain_ms: [type: {:integer, 0, 600_000}, default: 2_000, doc: "ms that a worker gets to end"]
  ]

  @doc "The table of a pool's options, as Markdown."
  @spec pool_docs() :: String.t()
  def pool_docs do
    Enum.map_join(@pool, "\n", fn {name, spec} ->
      default = if Keyword.has_key?(spec, :default), do: " (`#{inspect(spec[:default])}`)", else: ""
      "  * `:#{name}` – #{spec[:doc]}; #{allowed(spec[:type])}#{default}"
    end)
  end

  @doc """
  Checks the options of an instance and fills the defaults in. Raises `ArgumentError` naming every problem.

      iex> DSPex.Options.instance!(name: MyApp.DSPex, pools: [default: [workers: 1]])[:pools][:default][:workers]
      1
      iex> DSPex.Options.instance!(name: MyApp.DSPex, pools: [default: [workers: 0]])
      ** (ArgumentError) DSPex: pools.default.workers is 0; it must be a whole number from 1 to 128
  """
  @spec instance!(keyword) :: keyword
  def instance!(options) do
    unless Keyword.keyword?(options),
      do: raise(ArgumentError, "DSPex: the options are a keyword list, not #{inspect(options)}")

    unknown = Keyword.keys(options) -- [:name, :pools, :native, :cache]
    pools = Keyword.get(options, :pools, default: [])

    problems =
      Enum.map(unknown, &"#{&1} is no option; known are name, pools, native, cache") ++
        name_problems(options[:name]) ++
        pools_problems(pools, options[:native]) ++
        native_problems(options[:native]) ++ cache_problems(options[:cache])

    if problems != [], do: raise(ArgumentError, "DSPex: " <> Enum.join(problems, "\n  "))
    pools = for {name, pool} <- pools, do: {name, defaults(pool)}
    [name: options[:name], pools: pools, native: options[:native], cache: options[:cache]]
  end

  defp name_problems(name) do
    if is_atom(name) and name not in [nil, true, false],
      do: [],
      else: ["name is #{inspect(name)}; it must be a module name like MyApp.DSPex"]
  end

  # An instance that only answers natively needs no pool.
  defp pools_problems([], native) when native != nil, do: []

  defp pools_problems(pools, _native) do
    cond do
      not Keyword.keyword?(pools) or pools == [] ->
        ["pools is #{inspect(pools)}; it must be a keyword list of pools, as [default: [workers: 2]]"]

      duplicate = List.first(Keyword.keys(pools) -- Enum.uniq(Keyword.keys(pools))) ->
        ["pools.#{duplicate} stands there twice"]

      true ->
        Enum.flat_map(pools, fn {name, pool} -> pool_problems("pools.#{name}", pool) end)
    end
  end

  defp native_problems(nil), do: []

  defp native_problems(native) do
    lms = Keyword.keyword?(native) && Keyword.get(native, :lms, [])

    cond do
      not Keyword.keyword?(native) or Keyword.keys(native) -- [:lms, :prefer] != [] ->
        ["native is #{inspect(native)}; it must be [lms: [name: [model: …]], prefer: :native or :python]"]

      Keyword.get(native, :prefer, :native) not in [:native, :python] ->
        ["native.prefer is #{inspect(native[:prefer])}; it must be :native or :python"]

      not Keyword.keyword?(lms) ->
        ["native.lms is #{inspect(lms)}; it must be a keyword list, as [default: [model: \"openai/gpt-4o-mini\"]]"]

      true ->
        Enum.flat_map(lms, fn {name, lm} -> lm_problems("native.lms.#{name}", lm) end)
    end
  end

  @lm [:model, :base_url, :api_key_env, :timeout, :retries, :params, :max_bytes, :http]

  defp lm_problems(path, lm) do
    cond do
      not Keyword.keyword?(lm) ->
        ["#{path} is #{shown(:tables, lm)}; it must be a keyword list with model:"]

      not is_binary(lm[:model]) ->
        ["#{path}.model is #{inspect(lm[:model])}; it must be a text like \"openai/gpt-4o-mini\""]

      unknown = List.first(Keyword.keys(lm) -- @lm) ->
        ["#{path}.#{unknown} is no option; known are #{Enum.join(@lm, ", ")}"]

      not http?(lm[:http]) ->
        ["#{path}.http is #{inspect(lm[:http])}; it must be a module with the callbacks of DSPex.Native.LM.Http"]

      true ->
        []
    end
  end

  defp http?(nil), do: true

  defp http?(module),
    do: is_atom(module) and Code.ensure_loaded?(module) and function_exported?(module, :post, 4)

  defp cache_problems(nil), do: []

  defp cache_problems(cache) do
    known = [:max_entries, :max_bytes, :ttl]

    if Keyword.keyword?(cache) and Keyword.keys(cache) -- known == [],
      do: [],
      else: ["cache is #{inspect(cache)}; it must be a keyword list of #{Enum.join(known, ", ")}"]
  end

  defp pool_problems(path, pool) do
    if Keyword.keyword?(pool),
      do: Enum.flat_map(pool, fn {name, value} -> option_problems(path, name, value) end) ++ lent_problems(path, pool),
      else: ["#{path} is #{inspect(pool)}; it must be a keyword list of options"]
  end

  # Options of processes that the pool does not start.
  @own ~w(python extras args command env cd transport lm lms settings memory_soft max_calls max_age nice cpus gpu workers)a

  defp lent_problems(path, pool) do
    if pool[:start] == :snakepit do
      for {name, _value} <- pool, name in @own do
        "#{path}.#{name} has no effect on processes of Snakepit's; set it there (config :snakepit, config :dspex, :snakepit)"
      end
    else
      for {:snakepit_pool, _value} <- pool, do: "#{path}.snakepit_pool is an option with start: :snakepit only"
    end
  end

  defp option_problems(path, name, value) do
    case @pool[name] do
      nil ->
        ["#{path}.#{name} is no option#{suggest(name)}; known are #{Enum.map_join(@pool, ", ", &elem(&1, 0))}"]

      spec ->
        if valid?(spec[:type], value),
          do: [],
          else: ["#{path}.#{name} is #{shown(spec[:type], value)}; it must be #{allowed(spec[:type])}"]
    end
  end

  # People put keys there, and this text goes to crash reports.
  @private [:tables, :embedders, :pairs, :map]

  defp shown(type, value) when type in @private and value not in [[], %{}] and (is_list(value) or is_map(value)),
    do: "something else (not shown, it may hold secrets)"

  defp shown(_type, value), do: inspect(value)

  defp suggest(name) do
    {best, distance} =
      @pool
      |> Enum.map(fn {known, _spec} -> {known, String.jaro_distance(Atom.to_string(known), Atom.to_string(name))} end)
      |> Enum.max_by(&elem(&1, 1))

    if distance > 0.8, do: " (did you mean #{best}?)", else: ""
  end

  defp defaults(pool) do
    for {name, spec} <- @pool, Keyword.has_key?(pool, name) or Keyword.has_key?(spec, :default) do
      {name, Keyword.get(pool, name, spec[:default])}
    end
  end

  defp valid?({:integer, least, most}, value), do: is_integer(value) and value >= least and value <= most
  defp valid?(:text, value), do: is_binary(value) and value != ""

  defp valid?({:list, type}, value),
    do: is_list(value) and not List.improper?(value) and Enum.all?(value, &valid?(type, &1))

  defp valid?({:in, choices}, value), do: value in choices
  defp valid?(:name, value), do: is_atom(value) and value not in [nil, true, false]
  defp valid?(:timeout, value), do: value == :infinity or (is_integer(value) and value >= 0)
  defp valid?(:map, value), do: (is_map(value) and not is_struct(value)) or Keyword.keyword?(value)
  defp valid?(:transport, value), do: match?({module, options} when is_atom(module) and is_list(options), value)

  defp valid?(:pairs, value) do
    ((is_list(value) and not List.improper?(value)) or (is_map(value) and not is_struct(value))) and
      Enum.all?(
        value,
        &match?({name, text} when (is_binary(name) or is_atom(name)) and (is_binary(text) or text == false), &1)
      )
  end

  defp valid?(:backoff, value) do
    Keyword.keyword?(value) and Keyword.keys(value) -- [:first, :most] == [] and
      Enum.all?(value, fn {_name, ms} -> is_integer(ms) and ms > 0 end)
  end

  # A key itself is no member: it stays in the environment.
  @lm_table ~w(model api_key_env api_base temperature max_tokens timeout retries cache)a
  @embedder_table ~w(model api_key_env api_base timeout retries batch_size dimensions)a

  defp valid?(:tables, value) do
    Keyword.keyword?(value) and Enum.all?(value, fn {_name, table} -> valid_table?(table, @lm_table) end)
  end

  defp valid?(:embedders, value) do
    Keyword.keyword?(value) and Enum.all?(value, fn {_name, table} -> valid_table?(table, @embedder_table) end)
  end

  defp valid?(:breaker, false), do: true

  defp valid?(:breaker, value) do
    Keyword.keyword?(value) and Keyword.keys(value) -- [:failures, :open_ms] == [] and
      Enum.all?(value, fn {_name, number} -> is_integer(number) and number > 0 end)
  end

  defp valid_table?(table, known) do
    Keyword.keyword?(table) and is_binary(table[:model]) and Keyword.keys(table) -- known == [] and
      Enum.all?(table, fn {_name, value} -> is_binary(value) or is_number(value) or is_boolean(value) end)
  end

  defp allowed({:integer, least, most}), do: "a whole number from #{least} to #{most}"
  defp allowed(:text), do: "a text that is not empty"
  defp allowed({:list, _type}), do: "a list of texts"
  defp allowed({:in, choices}), do: "one of #{Enum.map_join(choices, ", ", &inspect/1)}"
  defp allowed(:name), do: "an atom"
  defp allowed(:timeout), do: "milliseconds or :infinity"
  defp allowed(:map), do: "a map or keyword list"
  defp allowed(:transport), do: "{module, options}"
  defp allowed(:pairs), do: "pairs of names and texts (or false)"
  defp allowed(:tables), do: "a keyword list of LMs, each with model: and of #{Enum.join(@lm_table, ", ")}"
  defp allowed(:embedders), do: "a keyword list, each with model: and of #{Enum.join(@embedder_table, ", ")}"
  defp allowed(:breaker), do: "[failures: count, open_ms: ms] or false"
  defp allowed(:backoff), do: "[first: ms, most: ms]"
end
