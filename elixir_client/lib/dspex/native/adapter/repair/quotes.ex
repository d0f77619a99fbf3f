defmodule DSPex.Native.Adapter.Repair.Quotes do
  @moduledoc false
  # Whether a quote inside a text ends it, by what stands behind it.

  import DSPex.Native.Adapter.Repair.Look
  import DSPex.Native.Adapter.Repair.Text, only: [outer: 1]

  alias DSPex.Native.Adapter.Repair.Ahead
  alias DSPex.Native.Adapter.Repair.Look
  alias DSPex.Native.Adapter.Repair.Text

  @type step :: {:next, Text.t(), Look.t()} | {:stop, Text.t(), Look.t()}

  @doc "The next step of the body; `{:next, …}` with the place unmoved lets the quote end the text."
  @spec judge(Text.t(), Look.t(), Look.code()) :: step
  def judge(state, look, char) do
    cond do
      state.doubled? and at(look, 1) == outer(state) -> {:next, state, move(look)}
      state.bare? and current(look) == :value -> next_key(state, look)
      state.unmatched? -> keep(%{state | unmatched?: false}, look, char)
      true -> behind(state, look, char)
    end
  end

  defp keep(state, look, char), do: {:next, Text.add(state, [char]), move(look)}
  defp leave(state, look), do: {:next, state, look}

  # A bare value runs into the quote of the next key.
  defp next_key(state, look) do
    offset = until_quote(look, 1, [outer(state), state.left])

    if at(look, offset) != nil and at(look, scroll(look, offset + 1)) == ?:,
      do: {:stop, state, move(look, -1)},
      else: leave(state, look)
  end

  defp until_quote(look, offset, quotes) do
    char = at(look, offset)
    if char == nil or char in quotes, do: offset, else: until_quote(look, offset + 1, quotes)
  end

  defp behind(state, look, char) do
    offset = sign(look, 1, [outer(state), state.left], true)

    case at(look, offset) do
      ?, ->
        if current(look) == :value, do: comma(state, look, char, offset), else: leave(state, look)

      next ->
        if next == outer(state) and at(look, offset - 1) != ?\\,
          do: another(state, look, char, offset),
          else: leave(state, look)
    end
  end

  # The first character that can tell: another quote, or one that would follow a finished text.
  defp sign(look, offset, quotes, comma?) do
    char = at(look, offset)
    comma? = comma? and not alpha?(char)

    cond do
      char == nil or char in quotes -> offset
      :key in look.context and char in [?:, ?}] -> offset
      :value in look.context and char == ?} -> offset
      :array in look.context and char in [?], ?,] -> offset
      comma? and current(look) == :value and char == ?, -> offset
      true -> sign(look, offset + 1, quotes, comma?)
    end
  end

  defp comma(state, look, char, offset) do
    stop = skip_to(look, outer(state), offset + 1)
    if at(look, scroll(look, stop + 1)) in [?}, ?,], do: keep(state, look, char), else: leave(state, look)
  end

  defp another(state, look, char, offset) do
    member? = current(look) == :value and Ahead.member_follows?(look, offset)

    cond do
      only_spaces?(look, offset) and not member? -> {:stop, state, look}
      member? -> keep(state, look, char)
      true -> by_context(current(look), state, look, char, offset)
    end
  end

  defp by_context(:value, state, look, char, offset) do
    start = skip_to(look, outer(state), offset + 1) + 1

    if at(look, colon(look, start, outer(state))) == ?:,
      do: leave(state, look),
      else: keep(%{state | unmatched?: not state.unmatched?}, look, char)
  end

  defp by_context(:array, state, look, char, offset) do
    if even?(look, offset, outer(state)),
      do: keep(%{state | unmatched?: not state.unmatched?}, look, char),
      else: {:stop, state, look}
  end

  defp by_context(:key, state, look, char, _offset), do: keep(state, look, char)
  defp by_context(nil, state, look, _char, _offset), do: leave(state, look)

  defp colon(look, offset, quote) do
    char = at(look, offset)

    if char in [nil, ?:, ?,, ?], ?}] or (char == quote and at(look, offset - 1) != ?\\),
      do: offset,
      else: colon(look, offset + 1, quote)
  end

  # Quotes up to the end of the array come in pairs.
  defp even?(look, offset, quote) do
    second = skip_to(look, [quote, ?]], offset + 1)

    if at(look, second) == quote do
      third = skip_to(look, [quote, ?]], second + 1)
      if at(look, third) == quote, do: even?(look, third, quote), else: true
    else
      false
    end
  end
end
