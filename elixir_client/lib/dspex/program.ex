defmodule DSPex.Program do
  @moduledoc """
  A DSPy program as data: `proto/program.schema.json` as a struct. It belongs to no worker: any of them can run it, and the
  loss of one loses no program.

  Programs are made by `DSPex.Predict.new/2`, `DSPex.ChainOfThought.new/2`, `DSPex.ReAct.new/2` and their siblings.
  """

  alias DSPex.Error
  alias DSPex.Tool

  @kinds ~w(predict chain_of_thought react program_of_thought code_act multi_chain_comparison best_of_n refine parallel knn
            rlm chain custom)
  @members ~w(name signature import config demos adapter lm children steps tools state dspy_version metadata)a
  @lm_parameters ~w(temperature max_tokens n top_p stop seed rollout_id)a
  @adapters [:chat, :json, :xml]

  @enforce_keys [:kind]
  defstruct [:kind, :name, :signature, :import, :adapter, :lm, :dspy_version] ++
              [config: %{}, demos: [], children: %{}, steps: [], tools: [], state: %{}, metadata: %{}]

  @type t :: %__MODULE__{
          kind: String.t(),
          name: String.t() | nil,
          signature: String.t() | map | nil,
          import: String.t() | nil,
          adapter: String.t() | nil,
          lm: String.t() | map | nil,
          dspy_version: String.t() | nil,
          config: map,
          demos: [map],
          children: map,
          steps: [t],
          tools: [Tool.t()],
          state: map,
          metadata: map
        }

  @doc "The kinds of programs that protocol 1 knows."
  @spec kinds() :: [String.t()]
  def kinds, do: @kinds

  @doc """
  Makes a program of a kind. Options beside `#{Enum.join(@members, "`, `")}`: `:instructions`, the LM parameters
  `#{Enum.join(@lm_parameters, "`, `")}`, and those in `own`, which are the kind's own and go into its `config`.

      iex> DSPex.Program.new("predict", "question -> answer", temperature: 0.5).config
      %{"temperature" => 0.5}
      iex> DSPex.Program.new("predict", "question -> answer", temprature: 0.5)
      ** (ArgumentError) predict: unknown option temprature; known are adapter, children, config, demos, dspy_version, import, instructions, lm, max_tokens, metadata, n, name, rollout_id, seed, state, steps, stop, temperature, tools, top_p
  """
  @spec new(String.t(), String.t() | map | nil, keyword, [atom]) :: t
  def new(kind, signature, options \\ [], own \\ []) when kind in @kinds do
    options = keyword!(kind, options)
    known = Enum.sort(@members ++ @lm_parameters ++ own ++ [:instructions]) -- [:signature]

    case Keyword.keys(options) -- known do
      [] -> :ok
      [name | _rest] -> raise ArgumentError, "#{kind}: unknown option #{name}; known are #{Enum.join(known, ", ")}"
    end

    parameters =
      for {name, value} <- Keyword.take(options, @lm_parameters ++ own), into: %{}, do: {Atom.to_string(name), value}

    config = options |> Keyword.get(:config, %{}) |> text_keys() |> Map.merge(parameters)

    %__MODULE__{kind: kind}
    |> struct!(Keyword.take(options, @members))
    |> Map.merge(%{signature: signature(signature, options[:instructions]), config: config})
    |> Map.update!(:adapter, &adapter!(kind, &1))
    |> Map.update!(:tools, &tools!(kind, &1))
  end

  @doc false
  @spec keyword!(String.t(), term) :: keyword
  def keyword!(kind, options) do
    if Keyword.keyword?(options),
      do: options,
      else: raise(ArgumentError, "#{kind}: its options are #{DSPex.Check.shown(options)}; they must be a keyword list")
  end

  @doc """
  The program as JSON members, in the order of the schema; members with nothing in them are left out.

      iex> DSPex.Program.to_json(DSPex.Program.new("predict", "question -> answer"))
      DSPex.Ordered.new([{"format", 1}, {"kind", "predict"}, {"signature", "question -> answer"}])
  """
  @spec to_json(t) :: DSPex.Ordered.t()
  def to_json(%__MODULE__{} = program) do
    members =
      for name <- @members, value = json(Map.fetch!(program, name)), value != :none, do: {Atom.to_string(name), value}

    DSPex.Ordered.new([{"format", 1}, {"kind", program.kind} | members])
  end

  @doc """
  Reads a program from its JSON, as `to_json/1` or Python made it. Tools come back without their functions: give them
  with `tools: [%DSPex.Tool{}]`.

      iex> {:ok, program} = DSPex.Program.from_json(%{"format" => 1, "kind" => "predict", "signature" => "q -> a"})
      iex> program.signature
      "q -> a"
  """
  @spec from_json(map, keyword) :: {:ok, t} | {:error, Error.t()}
  def from_json(json, options \\ []) do
    pairs = if is_struct(json, DSPex.Ordered), do: json.pairs, else: Enum.to_list(json)
    members = Map.new(pairs)
    names = Enum.map(@members, &Atom.to_string/1)
    unknown = Map.keys(members) -- ["format", "kind" | names]

    cond do
      members["format"] != 1 ->
        invalid("its format is #{inspect(members["format"])}; this client reads format 1")

      members["kind"] not in @kinds ->
        invalid("its kind is #{inspect(members["kind"])}; known are #{Enum.join(@kinds, ", ")}")

      unknown != [] ->
        invalid("#{hd(unknown)} is no member of a program")

      true ->
        build(members, options)
    end
  end

  @doc "What distinguishes this program from others, as short bytes; functions of tools are no part of it."
  @spec key(t) :: binary
  def key(%__MODULE__{} = program) do
    bare = %{program | tools: Enum.map(program.tools, &%{&1 | function: nil}), steps: Enum.map(program.steps, &key/1)}
    # Without the names of the fields, which are the same for all.
    :crypto.hash(:sha256, bare |> Map.values() |> :erlang.term_to_binary())
  end

  @doc "The tools of the program and of those inside it, by name."
  @spec tools(t) :: %{String.t() => Tool.t()}
  def tools(%__MODULE__{tools: tools, steps: steps, children: children}) do
    inner =
      for %__MODULE__{} = program <- steps ++ Map.values(children), {name, tool} <- tools(program), do: {name, tool}

    Map.new(inner ++ Enum.map(tools, &{&1.name, &1}))
  end

  defp build(members, options) do
    with {:ok, steps} <- all(List.wrap(members["steps"]), options),
         {:ok, children} <- children(members["children"] || %{}, options) do
      given = Map.new(Keyword.get(options, :tools, []), &{&1.name, &1})
      tools = members["tools"] |> List.wrap() |> Enum.map(&tool(&1, given))
      fields = for name <- @members, value = members[Atom.to_string(name)], value != nil, do: {name, value}
      program = struct!(%__MODULE__{kind: members["kind"]}, fields)

      {:ok,
       %{
         program
         | steps: steps,
           children: children,
           tools: tools,
           config: plain(program.config),
           metadata: plain(program.metadata)
       }}
    end
  end

  defp all(programs, options) do
    Enum.reduce_while(Enum.reverse(programs), {:ok, []}, fn json, {:ok, read} ->
      case from_json(json, options) do
        {:ok, program} -> {:cont, {:ok, [program | read]}}
        error -> {:halt, error}
      end
    end)
  end

  defp children(children, options) do
    {names, programs} = children |> plain_pairs() |> Enum.unzip()
    with {:ok, programs} <- all(programs, options), do: {:ok, Map.new(Enum.zip(names, programs))}
  end

  defp plain_pairs(%DSPex.Ordered{pairs: pairs}), do: pairs
  defp plain_pairs(map), do: Enum.to_list(map)

  defp plain(%DSPex.Ordered{} = ordered), do: DSPex.Ordered.to_map(ordered, deep: true)
  defp plain(map), do: map

  defp tool(json, given) do
    json = plain(json)

    case given do
      %{^json => tool} ->
        tool

      %{} ->
        Map.get(given, json["name"]) ||
          %Tool{
            name: json["name"],
            desc: json["desc"],
            schema: json["schema"],
            timeout: json["timeout_ms"] || :infinity,
            function: &missing/1
          }
    end
  end

  defp missing(_arguments), do: {:error, "it was loaded without its function; give tools: [...] when loading"}

  defp invalid(problem), do: {:error, Error.argument("the program cannot be read: #{problem}")}

  defp signature(signature, _instructions)
       when not (is_binary(signature) or is_map(signature) or signature == nil),
       do:
         raise(
           ArgumentError,
           "a signature is a text like \"question -> answer\", a `DSPex.Signature`, or a map, not #{DSPex.Check.shown(signature)}"
         )

  defp signature(%DSPex.Signature{} = signature, instructions),
    do: signature |> DSPex.Signature.to_map() |> signature(instructions)

  defp signature(text, nil), do: text

  defp signature(text, instructions) when is_binary(text),
    do: DSPex.Ordered.new([{"text", text}, {"instructions", instructions}])

  defp signature(%{} = map, instructions), do: Map.put(map, "instructions", instructions)

  defp adapter!(_kind, nil), do: nil
  defp adapter!(_kind, adapter) when adapter in @adapters, do: Atom.to_string(adapter)
  defp adapter!(_kind, adapter) when adapter in ["chat", "json", "xml"], do: adapter

  defp adapter!(kind, other),
    do: raise(ArgumentError, "#{kind}: adapter is #{inspect(other)}; it must be one of :chat, :json, :xml")

  defp tools!(kind, tools) do
    if is_list(tools) and Enum.all?(tools, &is_struct(&1, Tool)),
      do: tools,
      else: raise(ArgumentError, "#{kind}: tools is a list of DSPex.Tool, made by DSPex.Tool.new/3")
  end

  defp text_keys(pairs), do: Map.new(pairs, fn {name, value} -> {to_string(name), value} end)

  defp json(nil), do: :none
  defp json([]), do: :none
  defp json(map) when map == %{}, do: :none
  defp json([%__MODULE__{} | _rest] = programs), do: Enum.map(programs, &to_json/1)
  defp json([%Tool{} | _rest] = tools), do: Enum.map(tools, &Tool.to_json/1)

  defp json(%{} = map) when not is_struct(map) do
    Map.new(map, fn {name, value} -> {name, if(is_struct(value, __MODULE__), do: to_json(value), else: value)} end)
  end

  defp json(value), do: value

  defimpl Inspect do
    # Demos and instructions may hold what must not reach a log.
    def inspect(program, _options) do
      signature = if is_binary(program.signature), do: program.signature, else: "…"
      "#DSPex.Program<#{program.kind} #{Kernel.inspect(signature)}>"
    end
  end
end
