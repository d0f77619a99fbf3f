defmodule DSPex.Native.Adapter.Repair.Members do
  @moduledoc false
  # What the members of an object need that reads no value: repeated keys, rows that continue an array, escaped bodies.

  import DSPex.Native.Adapter.Repair.Look
  import DSPex.Native.Python, only: [is_space: 1]

  alias DSPex.Native.Adapter.Repair.Look
  alias DSPex.Native.Python

  @typep pairs :: [{String.t(), Python.value()}]

  @doc "The object with a member, in the place of one of the same key."
  @spec put(pairs, String.t(), Python.value()) :: pairs
  def put(object, key, value) do
    if List.keymember?(object, key, 0), do: List.keyreplace(object, key, 0, {key, value}), else: [{key, value} | object]
  end

  @doc "The members of a value put after those of an object."
  @spec added(pairs, Python.value()) :: pairs
  def added(object, {more}),
    do:
      more
      |> Enum.reduce(Enum.reverse(object), fn {key, value}, object -> put(object, key, value) end)
      |> Enum.reverse()

  def added(object, _other), do: object

  @doc "The rows of an array with those that continue it."
  @spec joined(list, list) :: list
  def joined(rows, more) do
    case rows |> Enum.filter(&is_list/1) |> Enum.map(&length/1) |> Enum.uniq() do
      [width] when width > 0 -> rows |> regrouped(width) |> Kernel.++(appended(more))
      _other -> rows ++ if(match?([[_first | _more]], more) or more == [[]], do: hd(more), else: more)
    end
  end

  defp appended([]), do: []
  defp appended(more), do: if(Enum.all?(more, &is_list/1), do: more, else: [more])

  defp regrouped(rows, width) do
    {tail, rows} = rows |> Enum.reverse() |> Enum.split_while(&(not is_list(&1)))
    tail = Enum.reverse(tail)
    tail = if rem(length(tail), width) == 0, do: Enum.chunk_every(tail, width), else: tail
    Enum.reverse(rows) ++ tail
  end

  @doc "Whether a repeated key inside an array begins the next object: not if it is written as a plain member."
  @spec split?(Look.t(), non_neg_integer) :: boolean
  def split?(look, back) do
    offset = back - look.index
    not (is_quote(at(look, offset)) and behind(look, offset - 1) == ?, and at(look, scroll(look, 0)) == ?:)
  end

  @doc "The last character before an offset that is no white space."
  @spec behind(Look.t(), integer) :: Look.code()
  def behind(look, offset) do
    case at(look, offset) do
      char when is_space(char) -> behind(look, offset - 1)
      char -> char
    end
  end

  @doc "The text with the next object opened before the key at `back`."
  @spec split(Look.t(), non_neg_integer) :: Look.t()
  def split(look, back) do
    place = back - 1
    chars = slice(look, 0, place + 1) ++ [?{] ++ slice(look, place + 1, look.size)
    %{replace(look, chars) | index: place}
  end

  @doc "Whether the body of an object was escaped once too often."
  @spec escaped?(charlist) :: boolean
  def escaped?(body) do
    text = List.to_string(body)

    (String.starts_with?(text, "\\\"") and String.contains?(text, "\\\":")) or
      (String.starts_with?(text, "\\'") and String.contains?(text, "\\':"))
  end

  @doc "The characters without a closing brace."
  @spec drop_brace(charlist) :: charlist
  def drop_brace(chars), do: if(List.last(chars) == ?}, do: Enum.drop(chars, -1), else: chars)

  @doc "Whether a colon stands outside of quotes."
  @spec colon?(charlist) :: boolean
  def colon?(chars), do: colon(chars, nil, 0)

  defp colon([], _quote, _slashes), do: false
  defp colon([?\\ | rest], quote, slashes), do: colon(rest, quote, slashes + 1)

  defp colon([char | rest], quote, slashes) do
    plain? = rem(slashes, 2) == 0

    cond do
      quote != nil -> colon(rest, if(char == quote and plain?, do: nil, else: quote), 0)
      is_quote(char) and plain? -> colon(rest, char, 0)
      char == ?: and plain? -> true
      true -> colon(rest, nil, 0)
    end
  end
end
