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
      do: {:ok, replace_last(state, [digits |> String.to_integer(16) |> whole()]), move(look, 1 + count)},
      else: :no
  end

  defp code(_state, _look, _char), do: :no

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
