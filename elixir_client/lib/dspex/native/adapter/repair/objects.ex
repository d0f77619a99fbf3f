defmodule DSPex.Native.Adapter.Repair.Objects do
  @moduledoc false
  # Objects of json_repair: missing quotes and colons, repeated keys, rows that continue an array, sets.

  import DSPex.Native.Adapter.Repair.Look
  import DSPex.Native.Python, only: [is_space: 1]

  alias DSPex.Native.Adapter.Repair.Look
  alias DSPex.Native.Adapter.Repair.Parser
  alias DSPex.Native.Adapter.Repair.Strings

  @doc "An object after its opening brace."
  @spec parse(Look.t()) :: Parser.parsed()
  def parse(look) do
    start = look.index
    inner? = current(look) == :value
    {object, look} = members(look, [], inner?)
    look = move(look)

    case empty(object, look, start) do
      :keep -> complete(object, look)
      repaired -> repaired
    end
  end

  # The object is a list of pairs, the latest first.
  defp members(look, object, inner?) do
    look = Parser.skip_spaces_and_comments(look)

    case at(look) do
      char when char in [nil, ?}] -> {Enum.reverse(object), look}
      ?, -> look |> move() |> members(object, inner?)
      ?: -> look |> move() |> member(object, inner?)
      _other -> member(look, object, inner?)
    end
  end

  defp member(look, object, inner?) do
    {key, back, object, look} = key(look, object)

    if :array in look.context and List.keymember?(object, key, 0) and not inner? and split?(look, back),
      do: {Enum.reverse(object), split(look, back)},
      else: after_key(Parser.skip_spaces_and_comments(look), key, object, inner?)
  end

  defp after_key(look, key, object, inner?) do
    if at(look) in [nil, ?}] do
      members(look, object, inner?)
    else
      {value, look} = look |> move() |> enter(:value) |> member_value()
      object = put(object, key, value)
      look = leave(look)
      look = if at(look) in [?,, ?', ?"], do: move(look), else: look

      if at(look) == ?] and :array in look.context,
        do: {Enum.reverse(object), move(look, -1)},
        else: members(look, object, inner?)
    end
  end

  defp put(object, key, value) do
    if List.keymember?(object, key, 0), do: List.keyreplace(object, key, 0, {key, value}), else: [{key, value} | object]
  end

  defp member_value(look) do
    look = Parser.skip_spaces_and_comments(look)
    if at(look) in [?,, ?}], do: {"", look}, else: Parser.value(look)
  end

  defp key(look, object) do
    {key, back, object, look} = look |> enter(:key) |> read_key(look.index, object)
    {key, back, object, leave(look)}
  end

  defp read_key(look, back, object) do
    case at(look) do
      nil -> {"", back, object, look}
      ?[ -> continue(look, object)
      _other -> named(look, object)
    end
  end

  defp continue(look, object) do
    case merge(look, object) do
      {object, look} -> read_key(look, look.index, object)
      :no -> named(look, object)
    end
  end

  defp named(look, object) do
    back = look.index

    case Strings.parse(look) do
      {"", look} ->
        look = Parser.skip_spaces_and_comments(look)
        if at(look) in [?:, ?}], do: {"", back, object, look}, else: read_key(look, back, object)

      {key, look} when is_binary(key) ->
        {key, back, object, look}

      # json_repair fails here, and so do its callers.
      {_other, _look} ->
        throw(:unsure)
    end
  end

  # An array where a key should be continues the array before it.
  defp merge(look, [{key, rows} | rest]) when is_list(rows) and key != "" do
    {more, look} = look |> move() |> Parser.array(?])
    look = Parser.skip_spaces_and_comments(look)
    look = if at(look) == ?,, do: move(look), else: look
    {[{key, joined(rows, more)} | rest], Parser.skip_spaces_and_comments(look)}
  end

  defp merge(_look, _object), do: :no

  defp joined(rows, more) do
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

  # A repeated key inside an array begins the next object, unless it is written as a plain member.
  defp split?(look, back) do
    offset = back - look.index
    not (is_quote(at(look, offset)) and behind(look, offset - 1) == ?, and at(look, scroll(look, 0)) == ?:)
  end

  defp behind(look, offset) do
    case at(look, offset) do
      char when is_space(char) -> behind(look, offset - 1)
      char -> char
    end
  end

  defp split(look, back) do
    place = back - 1
    chars = slice(look, 0, place + 1) ++ [?{] ++ slice(look, place + 1, look.size)
    %{replace(look, chars) | index: place}
  end

  # `{1, 2}` is a set, `{\"a\": 1}` an object that was escaped once too often.
  defp empty([], look, start) when look.index - start > 2 do
    body = slice(look, start, look.index - 1)

    if at(look, -1) == ?} and body |> without_comments() |> Enum.all?(&is_space/1),
      do: :keep,
      else: repaired(look, start)
  end

  defp empty(_object, _look, _start), do: :keep

  defp repaired(look, start) do
    attempt = slice(look, start - 1, look.index + 1)
    body = attempt |> Enum.drop(1) |> drop_brace() |> Enum.drop_while(&is_space/1)
    plain = body |> without_comments() |> Enum.drop_while(&is_space/1)

    cond do
      body == [] -> :keep
      escaped?(body) -> reparsed(look, start, attempt)
      plain == [] or colon?(plain) -> :keep
      true -> as_array(%{look | index: start})
    end
  end

  defp drop_brace(chars), do: if(List.last(chars) == ?}, do: Enum.drop(chars, -1), else: chars)

  defp escaped?(body) do
    text = List.to_string(body)

    (String.starts_with?(text, "\\\"") and String.contains?(text, "\\\":")) or
      (String.starts_with?(text, "\\'") and String.contains?(text, "\\':"))
  end

  defp reparsed(look, start, attempt) do
    text = attempt |> List.to_string() |> String.replace("\\\"", "\"") |> String.replace("\\'", "'")
    chars = slice(look, 0, start - 1) ++ String.to_charlist(text) ++ slice(look, look.index + 1, look.size)
    {value, look} = %{replace(look, chars) | index: start} |> enter(:key) |> parse()
    {value, defer(leave(look))}
  end

  defp as_array(look) do
    {value, look} = look |> enter(:key) |> Parser.array(?])
    {value, defer(leave(look))}
  end

  defp defer(look), do: %{look | deferred: look.deferred ++ [:key]}

  defp colon?(chars), do: colon?(chars, nil, 0)
  defp colon?([], _quote, _slashes), do: false
  defp colon?([?\\ | rest], quote, slashes), do: colon?(rest, quote, slashes + 1)

  defp colon?([char | rest], quote, slashes) do
    plain? = rem(slashes, 2) == 0

    cond do
      quote != nil -> colon?(rest, if(char == quote and plain?, do: nil, else: quote), 0)
      is_quote(char) and plain? -> colon?(rest, char, 0)
      char == ?: and plain? -> true
      true -> colon?(rest, nil, 0)
    end
  end

  defp without_comments(chars), do: without_comments(chars, nil, 0, [])
  defp without_comments([], _quote, _slashes, done), do: Enum.reverse(done)

  defp without_comments([?\\ | rest], quote, slashes, done),
    do: without_comments(rest, quote, slashes + 1, [?\\ | done])

  defp without_comments([char | rest], quote, slashes, done) when quote != nil do
    quote = if char == quote and rem(slashes, 2) == 0, do: nil, else: quote
    without_comments(rest, quote, 0, [char | done])
  end

  defp without_comments([char | rest], nil, slashes, done) when is_quote(char) and rem(slashes, 2) == 0,
    do: without_comments(rest, char, 0, [char | done])

  defp without_comments([?# | rest], nil, _slashes, done), do: rest |> line_end() |> without_comments(nil, 0, done)
  defp without_comments([?/, ?/ | rest], nil, _slashes, done), do: rest |> line_end() |> without_comments(nil, 0, done)
  defp without_comments([?/, ?* | rest], nil, _slashes, done), do: rest |> block_end() |> without_comments(nil, 0, done)
  defp without_comments([char | rest], nil, _slashes, done), do: without_comments(rest, nil, 0, [char | done])

  defp line_end(chars), do: Enum.drop_while(chars, &(&1 not in [?\n, ?\r]))

  defp block_end([?*, ?/ | rest]), do: rest
  defp block_end([_char | rest]), do: block_end(rest)
  defp block_end([]), do: []

  # Members that follow a closed object after a comma still belong to it.
  defp complete(object, %Look{context: []} = look) do
    look = look |> skip_spaces() |> past_comma()

    if is_quote(at(look)) and behind(look, -1) == ?, do
      {more, look} = parse(look)
      {{added(object, more)}, look}
    else
      {{object}, look}
    end
  end

  defp complete(object, look) do
    look = if at(look) == ?} and current(look) == :array, do: move(look), else: look
    {{object}, look}
  end

  defp added(object, {more}),
    do:
      more
      |> Enum.reduce(Enum.reverse(object), fn {key, value}, object -> put(object, key, value) end)
      |> Enum.reverse()

  defp added(object, _other), do: object

  defp past_comma(look) do
    if at(look) == ?,, do: look |> move() |> skip_spaces(), else: look
  end
end
