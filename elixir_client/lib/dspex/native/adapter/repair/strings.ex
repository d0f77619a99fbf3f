defmodule DSPex.Native.Adapter.Repair.Strings do
  @moduledoc false
  # Texts of json_repair: where one begins, in which quotes, and what ends it. The body is read in `Body`.

  import DSPex.Native.Adapter.Repair.Look
  import DSPex.Native.Adapter.Repair.Text, only: [outer: 1]
  import DSPex.Native.Python, only: [is_space: 1]

  alias DSPex.Native.Adapter.Repair.Body
  alias DSPex.Native.Adapter.Repair.Comments
  alias DSPex.Native.Adapter.Repair.Look
  alias DSPex.Native.Adapter.Repair.Text
  alias DSPex.Native.Python

  @literals [{~c'true', true}, {~c'false', false}, {~c'null', nil}, {~c'none', nil}]

  @type parsed :: {Python.value(), Look.t()}

  @doc "A text, or the literal or fenced JSON that stands in its place; `value` reads a value."
  @spec parse(Look.t(), (Look.t() -> parsed)) :: parsed
  def parse(look, value) do
    if at(look) in [?#, ?/], do: Comments.comment(look, value), else: look |> to_start() |> start(value)
  end

  defp to_start(look) do
    char = at(look)
    if char == nil or is_quote(char) or alnum?(char), do: look, else: look |> move() |> to_start()
  end

  defp start(look, value) do
    char = at(look)

    with :no <- ended(char, look), :no <- simple(char, look), :no <- literal(char, look) do
      look |> opened(char) |> fenced(value)
    end
  end

  defp ended(nil, look), do: {"", look}
  defp ended(_char, _look), do: :no

  # A text in plain quotes with nothing in it to repair, and the right character behind it.
  defp simple(?", look) do
    stop = plain_end(look, 1)

    if stop != nil and fits?(current(look), at(look, scroll(look, stop + 1))),
      do: {look |> slice(look.index + 1, look.index + stop) |> List.to_string(), move(look, stop + 1)},
      else: :no
  end

  defp simple(_char, _look), do: :no

  defp plain_end(look, offset) do
    case at(look, offset) do
      ?" -> offset
      char when char in [nil, ?\\, ?\n, ?\r] -> nil
      _char -> plain_end(look, offset + 1)
    end
  end

  defp fits?(:key, next), do: next == ?:
  defp fits?(:value, next), do: next in [?,, ?}, nil]
  defp fits?(:array, next), do: next in [?,, ?], nil]
  defp fits?(nil, next), do: next == nil

  defp literal(char, look) do
    if lower(char) in [?t, ?f, ?n] and current(look) != :key,
      do: Enum.find_value(@literals, :no, fn {word, value} -> found(word, value, look) end),
      else: :no
  end

  defp found(word, value, look) do
    size = length(word)
    next = at(look, size)

    if Enum.map(0..(size - 1), &lower(at(look, &1))) == word and (next in [nil, ?,, ?), ?], ?}] or is_space(next)),
      do: {value, move(look, size)}
  end

  defp opened(look, char) do
    cond do
      char == ?' -> {%Text{left: ?', right: [?']}, move(look)}
      char == ?“ -> {%Text{left: ?“, right: [?”]}, move(look)}
      is_quote(char) -> {%Text{}, move(look)}
      true -> {%Text{bare?: true}, look}
    end
  end

  # ```json … ``` inside a text is read as JSON.
  defp fenced({state, look}, value) do
    stop = if slice(look, look.index, look.index + 7) == ~c'```json', do: skip_to(look, ?`, 7)

    if stop && slice(look, look.index + stop, look.index + stop + 3) == ~c'```',
      do: look |> move(7) |> value.(),
      else: doubled(state, look)
  end

  defp doubled(state, look) do
    cond do
      at(look) != state.left -> Body.read(state, look)
      empty?(current(look), at(look, 1)) -> {"", move(look)}
      at(look, 1) == state.left -> {"", look}
      true -> doubled_start(state, look, skip_to(look, outer(state), 1))
    end
  end

  defp empty?(:key, next), do: next == ?:
  defp empty?(:value, next), do: next in [?,, ?}]
  defp empty?(:array, next), do: next in [?,, ?]]
  defp empty?(nil, _next), do: false

  defp doubled_start(state, look, stop) do
    cond do
      at(look, stop + 1) == outer(state) ->
        Body.read(%{state | doubled?: true}, move(look))

      at(look, stop) == outer(state) and quoted_span?(state, look, stop) ->
        Body.read(%{Text.add(state, [state.left]) | unmatched?: true}, move(look))

      true ->
        mistaken(state, look, at(look, scroll(look, 1)))
    end
  end

  # A text that begins with a quoted word: `""word" and more"`.
  defp quoted_span?(state, look, stop) do
    outer_stop = skip_to(look, outer(state), stop + 1)

    current(look) == :value and not only_spaces?(look, stop) and at(look, outer_stop) == outer(state) and
      at(look, scroll(look, outer_stop + 1)) in [?,, ?}, nil]
  end

  defp mistaken(state, look, next) do
    cond do
      next in [?{, ?[] or is_quote(next) -> {"", move(look)}
      next in [?,, ?], ?}] -> Body.read(state, look)
      true -> Body.read(state, move(look))
    end
  end
end
