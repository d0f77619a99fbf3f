defmodule DSPex.Native.Adapter.Repair.Groups do
  @moduledoc false
  # Round brackets of json_repair: values in brackets, tuples, or prose.

  import DSPex.Native.Adapter.Repair.Look
  import DSPex.Native.Python, only: [is_space: 1]

  alias DSPex.Native.Adapter.Repair.Look

  @doc "Whether the round bracket at the place opens a tuple: `(1)` is a value in brackets, `(1,)` and `()` are tuples."
  @spec tuple?(Look.t()) :: boolean
  def tuple?(look), do: tuple(look, 1, {0, 0, 0}, nil, 0, false)

  defp tuple(look, offset, {round, square, curly} = open, quote, slashes, content?) do
    char = at(look, offset)
    top? = open == {0, 0, 0}
    next = fn open, quote, content? -> tuple(look, offset + 1, open, quote, 0, content?) end

    cond do
      char == nil -> not content?
      char == ?\\ -> tuple(look, offset + 1, open, quote, slashes + 1, content?)
      quote != nil -> next.(open, if(char == quote and rem(slashes, 2) == 0, do: nil, else: quote), content?)
      is_quote(char) and rem(slashes, 2) == 0 -> next.(open, char, content? or top?)
      char == ?) and top? -> not content?
      char == ?, and top? -> true
      true -> next.(nested(char, round, square, curly), nil, content? or (top? and not is_space(char)))
    end
  end

  defp nested(?(, round, square, curly), do: {round + 1, square, curly}
  defp nested(?), round, square, curly), do: {max(round - 1, 0), square, curly}
  defp nested(?[, round, square, curly), do: {round, square + 1, curly}
  defp nested(?], round, square, curly), do: {round, max(square - 1, 0), curly}
  defp nested(?{, round, square, curly), do: {round, square, curly + 1}
  defp nested(?}, round, square, curly), do: {round, square, max(curly - 1, 0)}
  defp nested(_char, round, square, curly), do: {round, square, curly}

  @doc "Whether a bracket outside of all values opens one; in prose it opens a remark, on a line of its own maybe a value."
  @spec top_level?(Look.t()) :: boolean
  def top_level?(look), do: line_start?(look, look.index - 1) and value_start?(look) and closes_line?(look)

  defp line_start?(_look, place) when place < 0, do: true

  defp line_start?(look, place) do
    case at(look, place - look.index) do
      char when char in [?\n, ?\r] -> true
      char when is_space(char) -> line_start?(look, place - 1)
      _other -> false
    end
  end

  defp value_start?(look) do
    offset = scroll(look, 1)
    char = at(look, offset)
    word = for step <- 0..4, do: lower(at(look, offset + step))

    cond do
      char == nil -> false
      char in [?), ?{, ?[, ?(, ?-, ?.] or is_quote(char) or digit?(char) -> true
      true -> Enum.take(word, 4) in [~c'true', ~c'null', ~c'none'] or word == ~c'false'
    end
  end

  defp closes_line?(look), do: closes(look, 1, {0, 0, 0}, nil, 0)

  defp closes(look, offset, {round, square, curly} = open, quote, slashes) do
    char = at(look, offset)

    cond do
      char == nil ->
        true

      char == ?\\ ->
        closes(look, offset + 1, open, quote, slashes + 1)

      quote != nil ->
        closes(look, offset + 1, open, if(char == quote and rem(slashes, 2) == 0, do: nil, else: quote), 0)

      is_quote(char) and rem(slashes, 2) == 0 ->
        closes(look, offset + 1, open, char, 0)

      char == ?) and open == {0, 0, 0} ->
        line_end?(look, offset + 1)

      char == ?) ->
        closes(look, offset + 1, {round - 1, square, curly}, nil, 0)

      true ->
        closes(look, offset + 1, nested(char, round, square, curly), nil, 0)
    end
  end

  defp line_end?(look, offset) do
    case at(look, offset) do
      char when char in [nil, ?\n, ?\r] -> true
      char when is_space(char) -> line_end?(look, offset + 1)
      _other -> false
    end
  end
end
