defmodule DSPex.Native.Adapter.Validate.OwnTypes do
  @moduledoc false
  # DSPy's own types, each with what its validator takes.

  alias DSPex.Native.Adapter.Repair
  alias DSPex.Native.Adapter.Validate.Outcome
  alias DSPex.Native.Python
  alias DSPex.Native.Signature.Type

  @doc "A value against one of DSPy's types; `check` is the layer above, which knows all types."
  @spec run(Python.value(), String.t(), (Python.value(), Type.t() -> Outcome.result())) :: Outcome.result()
  def run({:dspy, name, _pairs} = value, name, _check), do: {:ok, value, 2, nil}
  def run(text, "Code", _check) when is_binary(text), do: made("Code", [{"code", code(text)}])
  def run({pairs} = value, "Code", _check), do: member(pairs, "code", value, &made("Code", [{"code", code(&1)}]))
  def run(text, "Reasoning", _check) when is_binary(text), do: made("Reasoning", [{"content", text}])

  def run({pairs} = value, "Reasoning", _check),
    do: member(pairs, "content", value, &made("Reasoning", [{"content", &1}]))

  def run({[{"url", url}]} = value, "Image", _check) when is_binary(url) do
    url = Python.strip(url)

    if url?(url),
      do: made("Image", [{"url", url}]),
      else: Outcome.wrong("an image's URL or data URI is expected", value)
  end

  def run({[{"messages", messages}]} = value, "History", _check) when is_list(messages) do
    if Enum.all?(messages, &match?({pairs} when is_list(pairs), &1)),
      do: made("History", [{"messages", messages}]),
      else: Outcome.wrong("a history's messages are objects", value)
  end

  def run(value, "ToolCalls", _check), do: tool_calls(value)
  def run(value, "ToolCallResults", check), do: results(value, check)
  def run({pairs}, "Audio", _check), do: plain("Audio", pairs, ~w(data audio_format), ~w(data audio_format))
  def run({pairs}, "File", _check), do: plain("File", pairs, [], ~w(file_data file_id filename))
  def run({pairs}, "Type", _check) when is_list(pairs), do: made("Type", [])
  def run(value, name, _check), do: Outcome.wrong("a value of dspy.#{name} is expected", value)

  defp made(name, pairs), do: {:ok, {:dspy, name, pairs}, 0, length(pairs)}

  defp member(pairs, key, value, make) do
    case List.keyfind(pairs, key, 0) do
      {^key, text} when is_binary(text) -> make.(text)
      _other -> Outcome.wrong("an object with the text `#{key}` is expected", value)
    end
  end

  defp plain(name, pairs, required, known) do
    keys = Enum.map(pairs, &elem(&1, 0))
    texts? = Enum.all?(pairs, fn {_key, value} -> is_binary(value) or is_nil(value) end)

    if keys != [] and required -- keys == [] and keys -- known == [] and texts?,
      do: made(name, for(key <- known, do: {key, pairs |> List.keyfind(key, 0, {key, nil}) |> elem(1)})),
      else: Outcome.wrong("an object with #{Enum.join(known, ", ")} is expected", {pairs})
  end

  defp url?("data:" <> _data), do: true
  defp url?(text), do: Regex.match?(~r/\A(https?|gs):\/\/[^\/?#]+/, text)

  # The code of the first fence, if there is one.
  defp code(text) do
    with nil <- Regex.run(~r/```(?:[^\n]*)\n(.*?)```/s, text), nil <- Regex.run(~r/```(.*?)```/s, text) do
      text
    else
      [_all, code] -> Python.strip(code)
    end
  end

  defp tool_calls(items) when is_list(items) do
    if Enum.all?(items, &call?/1), do: calls(items, nil), else: no_calls(items)
  end

  defp tool_calls({pairs} = value) do
    case List.keyfind(pairs, "tool_calls", 0) do
      {_key, items} when is_list(items) -> calls(items, List.keyfind(pairs, "tool_call_results", 0))
      nil -> if call?(value), do: calls([value], nil), else: no_calls(value)
      _other -> no_calls(value)
    end
  end

  defp tool_calls(value), do: no_calls(value)

  defp no_calls(value), do: Outcome.wrong("a list of tool calls is expected", value)

  defp call?({pairs}) when is_list(pairs) do
    has? = &List.keymember?(pairs, &1, 0)
    (has?.("name") and (has?.("args") or has?.("arguments"))) or has?.("function")
  end

  defp call?(_value), do: false

  defp calls(items, results) do
    made = Enum.map(items, &call/1)

    if :error in made,
      do: no_calls(items),
      else: made("ToolCalls", [{"tool_calls", made}, {"tool_call_results", results && elem(results, 1)}])
  end

  defp call({:dspy, "ToolCall", _pairs} = call), do: call

  defp call({pairs}) when is_list(pairs) do
    inner = with {function} when is_list(function) <- get(pairs, "function"), do: function

    {name, arguments} =
      if is_list(inner),
        do: {get(inner, "name") || get(pairs, "name"), get(inner, "arguments", {[]})},
        else: {get(pairs, "name"), get(pairs, "args", get(pairs, "arguments", {[]}))}

    case {name, arguments(arguments), get(pairs, "id") || get(pairs, "call_id")} do
      {name, {args}, id} when is_binary(name) and is_list(args) and (is_binary(id) or is_nil(id)) ->
        {:dspy, "ToolCall", [{"id", id}, {"name", name}, {"args", {args}}]}

      _other ->
        :error
    end
  end

  defp call(_value), do: :error

  # Providers send the arguments as a text of JSON.
  defp arguments(text) when is_binary(text) do
    case Repair.loads(text) do
      {:ok, value} -> value
      :unsure -> :error
    end
  end

  defp arguments({pairs}) when is_list(pairs), do: {pairs}
  defp arguments(_other), do: {[]}

  defp get(pairs, key, default \\ nil) do
    case List.keyfind(pairs, key, 0) do
      {_key, value} -> value
      nil -> default
    end
  end

  @result {[
             {"properties",
              {[
                 {"call_id", {[{"anyOf", [{[{"type", "string"}]}, {[{"type", "null"}]}]}, {"default", nil}]}},
                 {"name", {[{"type", "string"}]}},
                 {"value", {[]}},
                 {"is_error", {[{"default", false}, {"type", "boolean"}]}}
               ]}},
             {"required", ["name", "value"]},
             {"type", "object"}
           ]}

  defp results(items, check) when is_list(items) do
    case check.(items, {:list, [{:ref, @result, {[]}}]}) do
      {:ok, items, _exact, _count} -> made("ToolCallResults", [{"tool_call_results", items}])
      {:error, problems} -> {:error, problems}
    end
  end

  defp results({pairs} = value, check) do
    cond do
      items = get(pairs, "tool_call_results") -> results(items, check)
      List.keymember?(pairs, "name", 0) and List.keymember?(pairs, "value", 0) -> results([value], check)
      true -> Outcome.wrong("results of tool calls are expected", value)
    end
  end

  defp results({:dspy, "ToolCallResults", pairs}, check), do: results({pairs}, check)
  defp results(value, _check), do: Outcome.wrong("results of tool calls are expected", value)
end
