defmodule DSPex.Native.Adapter.Repair.Escapes do
  @moduledoc false
  # What stands behind a backslash in a text of json_repair. The backslash itself has been taken already.

  import DSPex.Native.Adapter.Repair.Look

  alias DSPex.Native.Adapter.Repair.Look
  alias DSPex.Native.Adapter.Repair.Text

  @simple %{?t => ?\t, ?n => ?\n, ?r => ?\r, ?b => ?\b}

  @spec normalize(Text.t(), Look.t(), Look.code()) :: {:ok, Text.t(), Look.t()} | :no
  def normalize(state, look, char) do
    active = hd(state.right)

    with :no <- low_quote(state, look, char),
         :no <- slashes(state, look, char, active),
         :no <- simple(state, look, char, active),
         :no <- code(state, look, char) do
      quote(state, look, char, active)
    end
  end

  defp low_quote(state, look, ?") do
    if Text.low?(state), do: {:ok, replace_last(Text.close(state), [?"]), move(look)}, else: :no
  end

  defp low_quote(_state, _look, _char), do: :no

  # A run of backslashes stands for half as many, unless the quote behind it is meant to be escaped.
  defp slashes(state, look, ?\\, active) do
    run = run(look, 1)
    length = run + 1

    if rem(length, 2) == 0 and at(look, run) != active,
      do: {:ok, replace_last(state, List.duplicate(?\\, div(length, 2))), move(look, run)},
      else: :no
  end

  defp slashes(_state, _look, _char, _active), do: :no

  defp run(look, offset), do: if(at(look, offset) == ?\\, do: run(look, offset + 1), else: offset)

  defp simple(state, look, char, active) do
    if char == active or char == ?\\ or is_map_key(@simple, char),
      do: state |> replace_last([Map.get(@simple, char, char)]) |> again(move(look), active),
      else: :no
  end

  defp again(%{text: [?\\ | _before]} = state, look, active) do
    next = at(look)

    if next != nil and next in [active, ?\\],
      do: state |> replace_last([next]) |> again(move(look), active),
      else: {:ok, state, look}
  end

  defp again(state, look, _active), do: {:ok, state, look}

  defp code(state, look, char) when char in [?u, ?x] do
    count = if char == ?u, do: 4, else: 2
    digits = look |> slice(look.index + 1, look.index + 1 + count) |> List.to_string()

    if byte_size(digits) == count and digits =~ ~r/\A[0-9a-fA-F]+\z/,
      do: coded(state, look, digits |> String.to_integer(16), 1 + count),
      else: :no
  end

  defp code(_state, _look, _char), do: :no

  # Two halves are one character.
  defp coded(state, look, high, length) when high in 0xD800..0xDBFF and length == 5 do
    case look |> slice(look.index + length, look.index + length + 6) |> List.to_string() do
      <<"\\u", digits::binary-size(4)>> -> paired(state, look, high, Integer.parse(digits, 16))
      _other -> {:ok, replace_last(state, [whole(high)]), move(look, length)}
    end
  end

  defp coded(state, look, code, length), do: {:ok, replace_last(state, [whole(code)]), move(look, length)}

  defp paired(state, look, high, {low, ""}) when low in 0xDC00..0xDFFF,
    do: {:ok, replace_last(state, [0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00]), move(look, 11)}

  defp paired(state, look, high, _other), do: {:ok, replace_last(state, [whole(high)]), move(look, 5)}

  # Elixir's texts can't hold half of a surrogate pair.
  defp whole(code) when code in 0xD800..0xDFFF, do: 0xFFFD
  defp whole(code), do: code

  defp quote(state, look, char, active) do
    if char == ?„ or (is_quote(char) and char != active),
      do: {:ok, replace_last(state, [char]), move(look)},
      else: :no
  end

  defp replace_last(%{text: [_slash | text]} = state, chars),
    do: Text.add(%{state | text: text, length: state.length - 1}, chars)
end
