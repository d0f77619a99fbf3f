defmodule DSPex.Native.Adapter.Repair do
  @moduledoc false
  # Python's `json_repair.loads`: JSON as it stands, else what can be made of it. `""` is its answer to text without JSON.

  alias DSPex.Native.Adapter.PythonJson
  alias DSPex.Native.Adapter.Repair.Look
  alias DSPex.Native.Adapter.Repair.Parser
  alias DSPex.Native.Python

  @max_bytes 200_000

  @doc "The value, or `:unsure` where only Python could tell."
  @spec loads(String.t()) :: {:ok, Python.value()} | :unsure
  def loads(text) do
    with :error <- PythonJson.decode(text), do: repair(text)
  end

  # json_repair takes time that grows with the square of some texts: long ones are left to Python.
  defp repair(text) do
    cond do
      not String.contains?(text, ["{", "[", "(", "\"", "'", "“", "”"]) -> {:ok, ""}
      byte_size(text) > @max_bytes -> :unsure
      true -> {:ok, text |> Look.new() |> Parser.document()}
    end
  catch
    :unsure -> :unsure
  end

  @doc "The first balanced pair of braces, as DSPy's regular expression finds it, in linear time."
  @spec balanced(String.t()) :: String.t() | nil
  def balanced(text) do
    case text |> :binary.matches(["{", "}"]) |> pairs(text, [], nil) do
      nil -> nil
      {start, stop} -> binary_part(text, start, stop - start + 1)
    end
  end

  defp pairs([], _text, _open, best), do: best

  defp pairs([{at, 1} | rest], text, open, best) do
    case {:binary.at(text, at), open} do
      {?{, open} -> pairs(rest, text, [at | open], best)
      # The outermost pair: nothing that begins later can come before it.
      {?}, [start]} -> if best == nil or start < elem(best, 0), do: {start, at}, else: best
      {?}, [start | open]} -> pairs(rest, text, open, earlier({start, at}, best))
      {?}, []} -> if best, do: best, else: pairs(rest, text, [], best)
    end
  end

  defp earlier(pair, nil), do: pair
  defp earlier(pair, best), do: min(pair, best)
end
