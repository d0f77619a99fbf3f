defmodule DSPex.Native.Adapter.Prompt do
  @moduledoc false
  # The order of messages, which all adapters share: system, demos, history, the request. What differs is the adapter's:
  # the functions below, called with the signature's fields.

  alias DSPex.Native.Adapter.Fields
  alias DSPex.Native.Adapter.Markers
  alias DSPex.Native.Adapter.ToolTurns
  alias DSPex.Native.Adapter.Validate
  alias DSPex.Native.Python
  alias DSPex.Native.Signature.Cache
  alias DSPex.Signature
  alias DSPex.Signature.Field

  @type message :: %{required(String.t()) => term}

  @doc "The structure part of the system message."
  @callback structure(Signature.t()) :: String.t()

  @doc "The user's message: given inputs, with the sentence about the outputs when it is a request."
  @callback user(Signature.t(), [{String.t(), Python.value()}], String.t(), boolean) :: String.t()

  @doc "The assistant's message: all outputs; the text stands for a missing one."
  @callback assistant(Signature.t(), map, Python.value()) :: String.t()

  @doc "Whether calls of tools in a history become tool messages, as JSONAdapter has it by default."
  @callback native_tools?() :: boolean

  @incomplete "This is an example of the task, though some input or output fields are not supplied."
  @not_supplied "Not supplied for this particular example. "
  @not_in_history "Not supplied for this conversation history message. "

  @results %Signature{inputs: [%Field{name: "tool_call_results", role: :input, type: {:dspy, "ToolCallResults"}}]}

  @doc "The messages of a request."
  @spec messages(module, Signature.t(), [[{String.t(), Python.value()}]], [{String.t(), Python.value()}]) :: [message]
  def messages(adapter, signature, demos, inputs) do
    {history, rest} = history(adapter, signature, inputs)
    request = adapter.user(rest, inputs, "", true)
    last = if request == "", do: [], else: [message("user", request)]

    [message("system", system(adapter, signature)) | demos(adapter, signature, demos)]
    |> Kernel.++(history)
    |> Kernel.++(last)
    |> Enum.map(&Markers.expand/1)
  end

  defp message(role, content), do: %{"role" => role, "content" => content}

  @doc "The system message: fields, structure, task."
  @spec system(module, Signature.t()) :: String.t()
  def system(adapter, signature) do
    key = {adapter, signature.inputs, signature.outputs, signature.instructions}
    Cache.fetch(:prompt, key) || Cache.put(:prompt, key, write_system(adapter, signature))
  end

  defp write_system(adapter, signature) do
    "Your input fields are:\n#{Fields.description(signature.inputs)}\n" <>
      "Your output fields are:\n#{Fields.description(signature.outputs)}\n" <>
      "#{adapter.structure(signature)}\n#{task(signature.instructions)}"
  end

  defp task(instructions) do
    lines = instructions |> dedent() |> Python.split_lines()
    "In adhering to this structure, your objective is: " <> Enum.map_join(lines, &"\n        #{&1}")
  end

  # Python's textwrap.dedent: blank lines become empty, the common indentation goes.
  defp dedent(text) do
    lines = text |> String.split("\n") |> Enum.map(&String.replace(&1, ~r/\A[ \t]+\z/, ""))
    margins = for line <- lines, line != "", do: hd(Regex.run(~r/\A[ \t]*/, line))
    margin = Enum.reduce(margins, nil, &common/2) || ""
    Enum.map_join(lines, "\n", &String.replace_prefix(&1, margin, ""))
  end

  defp common(margin, nil), do: margin
  defp common(left, right), do: binary_part(left, 0, :binary.longest_common_prefix([left, right]))

  defp demos(adapter, signature, demos) do
    names = Enum.map(Signature.fields(signature), & &1.name)
    {complete, others} = Enum.split_with(demos, &complete?(&1, names))
    partial = Enum.filter(others, &(any?(&1, signature.inputs) and any?(&1, signature.outputs)))

    Enum.flat_map(partial, &pair(adapter, signature, &1, @incomplete, @not_supplied)) ++
      Enum.flat_map(complete, &pair(adapter, signature, &1, "", @not_in_history))
  end

  defp complete?(demo, names),
    do: Enum.all?(names, &match?({_name, value} when value != nil, List.keyfind(demo, &1, 0)))

  defp any?(demo, fields), do: Enum.any?(fields, &List.keymember?(demo, &1.name, 0))

  defp pair(adapter, signature, demo, prefix, missing) do
    [
      message("user", adapter.user(signature, demo, prefix, false)),
      message("assistant", adapter.assistant(signature, Map.new(demo), missing))
    ]
  end

  # Earlier turns become messages of their own, and the field leaves the signature.
  defp history(adapter, signature, inputs) do
    case Enum.find(signature.inputs, &(&1.type == {:dspy, "History"})) do
      nil ->
        {[], signature}

      %Field{name: name} ->
        rest = Signature.delete(signature, name)
        {inputs |> List.keyfind(name, 0) |> turns() |> Enum.flat_map(&turn(adapter, rest, &1)), rest}
    end
  end

  defp turns({_name, {:dspy, "History", pairs}}), do: turns({nil, {pairs}})

  defp turns({_name, {pairs}}) do
    case List.keyfind(pairs, "messages", 0) do
      {"messages", messages} when is_list(messages) -> for {pairs} <- messages, do: pairs
      _other -> []
    end
  end

  # In Elixir a history may simply be the list of its turns.
  defp turns({_name, messages}) when is_list(messages), do: for({pairs} <- messages, do: pairs)
  defp turns(_none), do: []

  defp turn(adapter, signature, pairs) do
    user = adapter.user(signature, pairs, "", any?(pairs, signature.inputs))
    asked = if user == "", do: [], else: [message("user", user)]

    case {tool_calls(pairs), adapter.native_tools?()} do
      {nil, _native?} -> asked ++ answered(adapter, signature, pairs)
      {{_name, calls}, true} -> asked ++ ToolTurns.messages(adapter, signature, pairs, calls)
      {{name, calls}, false} -> asked ++ described(adapter, signature, pairs, name, calls)
    end
  end

  defp answered(adapter, signature, pairs) do
    case adapter.assistant(signature, Map.new(pairs), nil) do
      "" -> []
      content -> [message("assistant", content)]
    end
  end

  # Without tool messages of its own, what tools answered follows the turn in words.
  defp described(adapter, signature, pairs, name, calls) do
    case ToolTurns.results(calls) do
      nil ->
        answered(adapter, signature, pairs)

      results ->
        told = message("user", adapter.user(@results, [{"tool_call_results", results}], "", false))
        answered(adapter, signature, List.keystore(pairs, name, 0, {name, ToolTurns.without_results(calls)})) ++ [told]
    end
  end

  defp tool_calls(pairs) do
    with {name, value} <- Enum.find(pairs, fn {_name, value} -> tool_calls?(value) end),
         {:ok, calls} <- Validate.value(value, {:dspy, "ToolCalls"}) do
      {name, calls}
    else
      _none -> nil
    end
  end

  defp tool_calls?({:dspy, "ToolCalls", _members}), do: true
  defp tool_calls?({pairs}) when is_list(pairs), do: List.keymember?(pairs, "tool_calls", 0)
  defp tool_calls?(_value), do: false

  @doc "Inputs and demos as the adapters take them, from what the caller has."
  @spec pairs(map | keyword | DSPex.Ordered.t() | {list}) :: [{String.t(), Python.value()}]
  def pairs(values) when is_list(values),
    do: Enum.map(values, fn {key, value} -> {to_string(key), Python.from_elixir(value)} end)

  def pairs(values), do: values |> Python.from_elixir() |> elem(0)

  @doc "Turns what the messages hold into plain maps: content parts come as `{pairs}`."
  @spec plain([message]) :: [message]
  def plain(messages),
    do: Enum.map(messages, fn message -> Map.new(message, fn {k, v} -> {k, Python.to_elixir(v)} end) end)
end
