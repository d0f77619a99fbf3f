defmodule DSPex.Native.Program.Compiled do
  @moduledoc """
  A program made ready for Elixir: its signature with the learned state in it, demos, LM parameters.
  """

  alias DSPex.Native.Program.Reserved
  alias DSPex.Program
  alias DSPex.Signature
  alias DSPex.Signature.Field

  @enforce_keys [:signature]
  defstruct [:signature, :adapter, demos: [], params: %{}]

  @type t :: %__MODULE__{signature: Signature.t(), adapter: String.t() | nil, demos: [map], params: map}

  # The predictor's path in DSPy, under which a program's `state` has what it learned.
  @predictors %{"predict" => "self", "chain_of_thought" => "predict"}
  @params ~w(temperature max_tokens n top_p stop seed)
  @reasoning %Field{
    name: "reasoning",
    role: :output,
    type: :str,
    prefix: "Reasoning: Let's think step by step in order to",
    desc: "${reasoning}"
  }

  @doc "Compiles; `{:no, why}` when only Python can run the program, an error when nobody can."
  @spec compile(Program.t()) :: {:ok, t} | {:no, String.t()} | {:error, DSPex.Error.t()}
  def compile(%Program{kind: kind} = program) when is_map_key(@predictors, kind) do
    with :ok <- only_known(program),
         {:ok, signature} <- signature(program.signature),
         :ok <- Reserved.names(signature),
         {:ok, state} <- state(program.state, @predictors[kind]),
         signature = if(kind == "chain_of_thought", do: Signature.prepend(signature, @reasoning), else: signature),
         {:ok, signature} <- learned(signature, state) do
      demos = List.wrap(state["demos"] || program.demos)

      with :ok <- Reserved.demos(demos),
           do: {:ok, %__MODULE__{signature: signature, adapter: program.adapter, demos: demos, params: params(program)}}
    end
  end

  def compile(%Program{kind: kind}), do: {:no, "#{kind} runs only in Python"}

  defp only_known(program) do
    config = Map.keys(program.config) -- @params

    cond do
      program.tools != [] -> {:no, "its tools are called by Python"}
      config != [] -> {:no, "the option #{hd(config)} is known only to Python"}
      program.children != %{} or program.steps != [] -> {:no, "it has programs inside it"}
      true -> :ok
    end
  end

  defp params(%Program{lm: %{} = lm, config: config}), do: Map.merge(DSPex.Ordered.plain(lm["params"] || %{}), config)
  defp params(%Program{config: config}), do: config

  defp signature(text) when is_binary(text), do: text |> Signature.compile() |> checked()
  defp signature(%DSPex.Ordered{} = members), do: members |> DSPex.Ordered.to_map() |> signature()

  defp signature(%{"text" => text} = members) do
    with {:ok, signature} <- text |> Signature.compile() |> checked(),
         {:ok, signature} <- described(signature, Enum.map(members["fields"] || [], &members/1)),
         do: {:ok, instruct(signature, members["instructions"])}
  end

  defp signature(%{"fields" => fields} = members) do
    fields |> Enum.map(&DSPex.Ordered.plain/1) |> Signature.new(instructions: members["instructions"]) |> checked()
  end

  defp signature(_class), do: {:no, "its signature is a class of the worker"}

  # The text says names and types, `fields` adds descriptions, constraints and defaults by name, as in Python.
  defp described(signature, []), do: {:ok, signature}

  defp described(signature, added) do
    %{"fields" => fields} = Signature.to_map(signature)

    case Enum.map(added, & &1["name"]) -- Enum.map(fields, & &1["name"]) do
      [] -> fields |> Enum.map(&describe(&1, added)) |> Signature.new() |> checked()
      [name | _rest] -> checked({:error, "`fields` describes `#{name}`, which the text does not have"})
    end
  end

  defp describe(field, added) do
    found = Enum.find(added, %{}, &(&1["name"] == field["name"]))
    said = for {name, value} <- found, name == "default" or value != nil, into: %{}, do: {name, value}
    Map.merge(field, Map.take(said, ["desc", "prefix", "constraints", "default"]))
  end

  defp checked({:ok, signature}), do: {:ok, signature}

  defp checked({:error, text}) when is_binary(text), do: {:error, DSPex.Error.new(:signature_error, text)}

  defp checked({:error, error}) do
    {:error, DSPex.Error.new(:signature_error, Exception.message(error))}
  end

  defp instruct(signature, nil), do: signature
  defp instruct(signature, instructions), do: Signature.with_instructions(signature, instructions)

  defp state(state, path) do
    state = if is_struct(state, DSPex.Ordered), do: DSPex.Ordered.to_map(state), else: state || %{}

    case Map.keys(state) -- [path] do
      [] -> {:ok, members(state[path] || %{})}
      [other | _rest] -> {:no, "its state has the predictor #{other}"}
    end
  end

  defp members(%DSPex.Ordered{} = ordered), do: DSPex.Ordered.to_map(ordered)
  defp members(map), do: map

  defp learned(signature, state) do
    signature = instruct(signature, state["instructions"])
    changes = members(state["fields"] || %{})
    names = Enum.map(Signature.fields(signature), & &1.name)

    case Map.keys(changes) -- names do
      [] -> {:ok, %{signature | inputs: change(signature.inputs, changes), outputs: change(signature.outputs, changes)}}
      [name | _rest] -> {:no, "its state changes the field #{name}, which the signature has not"}
    end
  end

  defp change(fields, changes) do
    Enum.map(fields, fn field ->
      changed = members(changes[field.name] || %{})
      %{field | prefix: changed["prefix"] || field.prefix, desc: changed["desc"] || field.desc}
    end)
  end
end
