defmodule DSPex.Native.Adapter.Repair.Comments do
  @moduledoc false
  # Comments of json_repair: `#`, `//` and `/* */`.

  import DSPex.Native.Adapter.Repair.Look

  alias DSPex.Native.Adapter.Repair.Look
  alias DSPex.Native.Python

  @doc "A comment; at the top level also the value behind it, which `value` reads."
  @spec comment(Look.t(), (Look.t() -> parsed)) :: parsed when parsed: {Python.value(), Look.t()}
  def comment(look, value) do
    look = skip_comment(look)

    cond do
      look.context != [] -> {"", look}
      at(skip_spaces(look)) in [?#, ?/] -> look |> skip_spaces() |> comment(value)
      true -> look |> skip_spaces() |> value.()
    end
  end

  @doc "The text at the next character that is neither white space nor in a comment."
  @spec skip_spaces_and_comments(Look.t()) :: Look.t()
  def skip_spaces_and_comments(look) do
    look = skip_spaces(look)
    char = at(look)

    if char == ?# or (char == ?/ and at(look, 1) in [?/, ?*]),
      do: look |> skip_comment() |> skip_spaces_and_comments(),
      else: look
  end

  defp skip_comment(look) do
    case {at(look), at(look, 1)} do
      {?#, _next} -> skip_line(look, [?\n, ?\r] ++ ends(look.context))
      {?/, ?/} -> skip_line(look, [?\n, ?\r])
      {?/, ?*} -> look |> move(2) |> skip_block(nil)
      {?/, _next} -> move(look)
      _other -> look
    end
  end

  defp ends(context) do
    for {kind, char} <- [array: ?], value: ?}, key: ?:], kind in context, do: char
  end

  defp skip_line(look, ends) do
    char = at(look)
    if char == nil or char in ends, do: look, else: look |> move() |> skip_line(ends)
  end

  # As in json_repair, the star that opens a block may also close it: `/*/`.
  defp skip_block(look, last) do
    case at(look) do
      nil -> look
      ?/ when last == ?* -> move(look)
      ?/ when last == nil -> move(look)
      char -> look |> move() |> skip_block(char)
    end
  end

  @doc "The characters outside of comments."
  @spec without(charlist) :: charlist
  def without(chars), do: outside(chars, nil, 0, [])

  defp outside([], _quote, _slashes, done), do: Enum.reverse(done)

  defp outside([?\\ | rest], quote, slashes, done),
    do: outside(rest, quote, slashes + 1, [?\\ | done])

  defp outside([char | rest], quote, slashes, done) when quote != nil do
    quote = if char == quote and rem(slashes, 2) == 0, do: nil, else: quote
    outside(rest, quote, 0, [char | done])
  end

  defp outside([char | rest], nil, slashes, done) when is_quote(char) and rem(slashes, 2) == 0,
    do: outside(rest, char, 0, [char | done])

  defp outside([?# | rest], nil, _slashes, done), do: rest |> line_end() |> outside(nil, 0, done)
  defp outside([?/, ?/ | rest], nil, _slashes, done), do: rest |> line_end() |> outside(nil, 0, done)
  defp outside([?/, ?* | rest], nil, _slashes, done), do: rest |> block_end() |> outside(nil, 0, done)
  defp outside([char | rest], nil, _slashes, done), do: outside(rest, nil, 0, [char | done])

  defp line_end(chars), do: Enum.drop_while(chars, &(&1 not in [?\n, ?\r]))

  defp block_end([?*, ?/ | rest]), do: rest
  defp block_end([_char | rest]), do: block_end(rest)
  defp block_end([]), do: []
end
