defmodule DSPex.Native.Adapter.ToolTurns do
  @moduledoc false
  # Turns of a history that called tools, as messages of the chat API's own.

  alias DSPex.Native.Adapter.JsonText
  alias DSPex.Native.Adapter.Prompt
  alias DSPex.Native.Adapter.Validate
  alias DSPex.Native.Python
  alias DSPex.Signature
  alias DSPex.Signature.Field

  @doc "What the tools answered, or `nil`."
  @spec results(Python.value()) :: Python.value() | nil
  def results({:dspy, "ToolCalls", members}) do
    with {_key, results} when results != nil <- List.keyfind(members, "tool_call_results", 0),
         {:ok, results} <- Validate.value(results, {:dspy, "ToolCallResults"}) do
      results
    else
      _none -> nil
    end
  end

  @doc "The calls alone."
  @spec without_results(Python.value()) :: Python.value()
  def without_results({:dspy, "ToolCalls", members}),
    do: {:dspy, "ToolCalls", List.keystore(members, "tool_call_results", 0, {"tool_call_results", nil})}

  @doc "The assistant's message with its calls, and a message for each answer; without matching answers the calls go."
  @spec messages(module, Signature.t(), [{String.t(), Python.value()}], Python.value()) :: [Prompt.message()]
  def messages(adapter, signature, pairs, calls) do
    content = content(adapter, signature, Map.new(pairs))
    {:dspy, "ToolCalls", members} = calls
    {_key, made} = List.keyfind(members, "tool_calls", 0)

    case matching(results(calls), made) do
      nil -> if content == "", do: [], else: [%{"role" => "assistant", "content" => content}]
      answers -> [asked(content, made) | Enum.map(answers, &answer/1)]
    end
  end

  defp content(adapter, signature, values) do
    case Enum.reject(signature.outputs, &(&1.type == {:dspy, "ToolCalls"} or is_nil(values[&1.name]))) do
      [] -> ""
      [%Field{} | _more] = outputs -> adapter.assistant(%{signature | outputs: outputs}, values, nil)
    end
  end

  # Each call needs an id, and its answer the same one, in the same order.
  defp matching(nil, _calls), do: nil

  defp matching({:dspy, "ToolCallResults", [{_key, answers}]}, calls) do
    ids = Enum.map(calls, &get(&1, "id"))
    if ids == Enum.map(answers, &get(&1, "call_id")) and Enum.all?(ids, &(&1 not in [nil, ""])), do: answers
  end

  defp asked(content, calls) do
    %{
      "role" => "assistant",
      "content" => if(content == "", do: nil, else: content),
      "tool_calls" => Enum.map(calls, &call/1)
    }
  end

  defp call(call) do
    function =
      {[{"name", get(call, "name")}, {"arguments", call |> get("args") |> JsonText.jsonable() |> JsonText.dumps()}]}

    {[{"id", get(call, "id")}, {"type", "function"}, {"function", function}]}
  end

  defp answer(answer) do
    value = get(answer, "value")
    content = if is_binary(value), do: value, else: value |> JsonText.jsonable() |> JsonText.dumps()
    %{"role" => "tool", "tool_call_id" => get(answer, "call_id"), "name" => get(answer, "name"), "content" => content}
  end

  defp get({:dspy, _name, pairs}, key), do: get({pairs}, key)
  defp get({:model, _name, pairs}, key), do: get({pairs}, key)

  defp get({pairs}, key) do
    case List.keyfind(pairs, key, 0) do
      {_key, value} -> value
      nil -> nil
    end
  end
end
