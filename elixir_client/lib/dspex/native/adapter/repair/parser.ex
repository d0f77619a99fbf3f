defmodule DSPex.Native.Adapter.Repair.Parser do
  @moduledoc false
  # The values of json_repair: what begins where, arrays, objects with missing quotes and colons, sets. Each function gives
  # its value and the text behind it. Values hold each other, so that all that recurs stands here.

  import DSPex.Native.Adapter.Repair.Look
  import DSPex.Native.Python, only: [is_space: 1]

  alias DSPex.Native.Adapter.PythonJson
  alias DSPex.Native.Adapter.Repair.Comments
  alias DSPex.Native.Adapter.Repair.Groups
  alias DSPex.Native.Adapter.Repair.Look
  alias DSPex.Native.Adapter.Repair.Members
  alias DSPex.Native.Adapter.Repair.Numbers
  alias DSPex.Native.Adapter.Repair.Strings
  alias DSPex.Native.Python

  @type parsed :: {Python.value(), Look.t()}

  @doc "All top-level values: one alone, several as a list; a later one of the same shape is an update."
  @spec document(Look.t()) :: Python.value()
  def document(look) do
    case value(look) do
      {value, %Look{index: index, size: size}} when index >= size -> value
      {value, look} -> more([value], look)
    end
  end

  defp more([value], %Look{index: index, size: size}) when index >= size, do: value
  defp more(values, %Look{index: index, size: size}) when index >= size, do: Enum.reverse(values)

  defp more([last | before] = values, look) do
    look = %{look | context: [], deferred: []}
    separated? = separated?(look)
    {value, look} = value(look)

    cond do
      empty?(value) -> more(values, move(look))
      not separated? and same?(last, value) -> more([value | before], look)
      empty?(last) -> more([value | before], look)
      true -> more([value | values], look)
    end
  end

  defp separated?(look), do: at(look, scroll(look, 0)) == ?, or before(look, -1) == ?,

  defp before(%Look{index: index} = look, offset) when index + offset >= 0 do
    case at(look, offset) do
      char when is_space(char) -> before(look, offset - 1)
      char -> char
    end
  end

  defp before(_look, _offset), do: nil

  @doc "What Python takes for false."
  def empty?(value), do: value in [nil, false, 0, "", [], {[]}] or value == 0.0

  defp same?({left}, {right}) when length(left) == length(right) do
    right = Map.new(right)
    Enum.all?(left, fn {key, value} -> is_map_key(right, key) and same?(value, right[key]) end)
  end

  defp same?(left, right) when is_list(left) and is_list(right),
    do: length(left) == length(right) and left |> Enum.zip(right) |> Enum.all?(fn {one, other} -> same?(one, other) end)

  defp same?({_left}, _right), do: false
  defp same?(_left, {_right}), do: false
  defp same?(left, right), do: Python.type_name(left) == Python.type_name(right)

  @doc "The next value; the empty text at the end."
  @spec value(Look.t()) :: parsed
  def value(%Look{deferred: [_first | _more] = deferred} = look) do
    {value, look} = deferred |> Enum.reduce(%{look | deferred: []}, &enter(&2, &1)) |> value()
    {value, Enum.reduce(deferred, look, fn _context, look -> leave(look) end)}
  end

  def value(look), do: dispatch(look, look.index == 0 and look.context == [])

  defp dispatch(look, first?) do
    char = at(look)
    inside? = look.context != []

    cond do
      char == nil -> {"", look}
      char in [?{, ?[] -> container(char, look)
      char == ?( and (inside? or Groups.top_level?(look)) -> group(look)
      char == ?( -> look |> move() |> dispatch(first?)
      inside? and (is_quote(char) or alpha?(char)) -> text(look)
      inside? and (digit?(char) or char in [?-, ?.]) -> number(look)
      char in [?#, ?/] -> Comments.comment(look, &value/1)
      is_quote(char) and first? -> missing_brace(char, look)
      true -> look |> move() |> dispatch(first?)
    end
  end

  defp number(look) do
    with :text <- Numbers.parse(look), do: text(look)
  end

  defp text(look), do: Strings.parse(look, &value/1)

  defp container(char, look) do
    with true <- not look.tried? and look.context == [] and trailing?(look),
         look = %{look | tried?: true},
         {:ok, value, look} <- valid(look) do
      {value, look}
    else
      false -> open(char, look)
      {:error, look} -> open(char, look)
    end
  end

  defp open(?{, look), do: look |> move() |> object()
  defp open(?[, look), do: look |> move() |> array(?])

  # A container that is valid as it stands is taken whole when other text follows it.
  defp valid(look) do
    text = look |> slice(look.index, look.size) |> List.to_string()

    case PythonJson.prefix(text) do
      {:ok, value, rest} ->
        used = binary_part(text, 0, byte_size(text) - byte_size(rest))
        {:ok, value, move(look, used |> String.to_charlist() |> length())}

      :error ->
        {:error, look}
    end
  end

  defp trailing?(%Look{index: index}) when index != 0, do: true
  defp trailing?(look), do: trailing(look, 0, [], :outside)

  defp trailing(%Look{size: size}, place, _open, _state) when place >= size, do: false
  defp trailing(look, place, open, :escaped), do: trailing(look, place + 1, open, :inside)

  defp trailing(look, place, open, state) do
    case {at(look, place), state, open} do
      {?\\, :inside, open} -> trailing(look, place + 1, open, :escaped)
      {?", :inside, open} -> trailing(look, place + 1, open, :outside)
      {_char, :inside, open} -> trailing(look, place + 1, open, :inside)
      {?", :outside, open} -> trailing(look, place + 1, open, :inside)
      {?{, :outside, open} -> trailing(look, place + 1, [?} | open], :outside)
      {?[, :outside, open} -> trailing(look, place + 1, [?] | open], :outside)
      {close, :outside, [close]} -> at(look, scroll(look, place + 1)) not in [nil, ?,]
      {close, :outside, [close | open]} -> trailing(look, place + 1, open, :outside)
      {char, :outside, _open} when char in [?}, ?]] -> false
      {_char, :outside, open} -> trailing(look, place + 1, open, :outside)
    end
  end

  # `"key": value }`: one brace in front makes the whole text valid.
  defp missing_brace(quote, look) do
    with 0 <- scroll(look, -look.index),
         stop = skip_to(look, quote, 1),
         true <- at(look, stop) != nil and at(look, scroll(look, stop + 1)) == ?:,
         ?} <- at(look, scroll_back(look, look.size - look.index - 1)),
         {:ok, value} <- PythonJson.decode("{" <> (look |> slice(0, look.size) |> List.to_string())) do
      {value, %{look | index: look.size}}
    else
      _other -> look |> move() |> dispatch(false)
    end
  end

  # An array after its opening bracket.
  defp array(look, closing) do
    member? = current(look) == :value
    {items, look, moved} = look |> enter(:array) |> items(closing, member?, [])
    {Enum.reverse(items), look |> leave() |> move(moved)}
  end

  defp items(look, closing, member?, items) do
    look = Comments.skip_spaces_and_comments(look)
    char = at(look)

    cond do
      char == nil or char == closing or char == ?} ->
        {items, look, 1}

      char == ?, ->
        look |> move() |> items(closing, member?, items)

      is_quote(char) and key_ahead?(look, char) and member? and items != [] and Enum.all?(items, &scalar?/1) ->
        {items, look, 0}

      is_quote(char) and key_ahead?(look, char) ->
        look |> object() |> item(closing, member?, items)

      is_quote(char) ->
        look |> text() |> item(closing, member?, items)

      true ->
        look |> value() |> item(closing, member?, items)
    end
  end

  defp key_ahead?(look, quote), do: at(look, scroll(look, skip_to(look, quote, 1) + 1)) == ?:

  defp scalar?(value), do: not is_list(value) and not is_tuple(value)

  defp item({value, look}, closing, member?, items) do
    cond do
      value in ["", [], {[]}] and at(look) not in [closing, ?,] -> look |> move() |> items(closing, member?, items)
      value == "..." and at(look, -1) == ?. -> items(look, closing, member?, items)
      true -> items(look, closing, member?, [value | items])
    end
  end

  defp group(look) do
    tuple? = Groups.tuple?(look)

    case look |> move() |> array(?)) do
      {[value], look} when not tuple? -> {value, look}
      found -> found
    end
  end

  # An object after its opening brace.
  defp object(look) do
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
    look = Comments.skip_spaces_and_comments(look)

    case at(look) do
      char when char in [nil, ?}] -> {Enum.reverse(object), look}
      ?, -> look |> move() |> members(object, inner?)
      ?: -> look |> move() |> member(object, inner?)
      _other -> member(look, object, inner?)
    end
  end

  defp member(look, object, inner?) do
    {key, back, object, look} = key(look, object)

    if :array in look.context and List.keymember?(object, key, 0) and not inner? and Members.split?(look, back),
      do: {Enum.reverse(object), Members.split(look, back)},
      else: after_key(Comments.skip_spaces_and_comments(look), key, object, inner?)
  end

  defp after_key(look, key, object, inner?) do
    if at(look) in [nil, ?}] do
      members(look, object, inner?)
    else
      {value, look} = look |> move() |> enter(:value) |> member_value()
      object = Members.put(object, key, value)
      look = leave(look)
      look = if at(look) in [?,, ?', ?"], do: move(look), else: look

      if at(look) == ?] and :array in look.context,
        do: {Enum.reverse(object), move(look, -1)},
        else: members(look, object, inner?)
    end
  end

  defp member_value(look) do
    look = Comments.skip_spaces_and_comments(look)
    if at(look) in [?,, ?}], do: {"", look}, else: value(look)
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

    case text(look) do
      {"", look} ->
        look = Comments.skip_spaces_and_comments(look)
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
    {more, look} = look |> move() |> array(?])
    look = Comments.skip_spaces_and_comments(look)
    look = if at(look) == ?,, do: move(look), else: look
    {[{key, Members.joined(rows, more)} | rest], Comments.skip_spaces_and_comments(look)}
  end

  defp merge(_look, _object), do: :no

  # `{1, 2}` is a set, `{\"a\": 1}` an object that was escaped once too often.
  defp empty([], look, start) when look.index - start > 2 do
    body = slice(look, start, look.index - 1)

    if at(look, -1) == ?} and body |> Comments.without() |> Enum.all?(&is_space/1),
      do: :keep,
      else: repaired(look, start)
  end

  defp empty(_object, _look, _start), do: :keep

  defp repaired(look, start) do
    attempt = slice(look, start - 1, look.index + 1)
    body = attempt |> Enum.drop(1) |> Members.drop_brace() |> Enum.drop_while(&is_space/1)
    plain = body |> Comments.without() |> Enum.drop_while(&is_space/1)

    cond do
      body == [] -> :keep
      Members.escaped?(body) -> reparsed(look, start, attempt)
      plain == [] or Members.colon?(plain) -> :keep
      true -> as_array(%{look | index: start})
    end
  end

  defp reparsed(look, start, attempt) do
    text = attempt |> List.to_string() |> String.replace("\\\"", "\"") |> String.replace("\\'", "'")
    chars = slice(look, 0, start - 1) ++ String.to_charlist(text) ++ slice(look, look.index + 1, look.size)
    {value, look} = %{replace(look, chars) | index: start} |> enter(:key) |> object()
    {value, defer(leave(look))}
  end

  defp as_array(look) do
    {value, look} = look |> enter(:key) |> array(?])
    {value, defer(leave(look))}
  end

  defp defer(look), do: %{look | deferred: look.deferred ++ [:key]}

  # Members that follow a closed object after a comma still belong to it.
  defp complete(object, %Look{context: []} = look) do
    look = look |> skip_spaces() |> past_comma()

    if is_quote(at(look)) and Members.behind(look, -1) == ?, do
      {more, look} = object(look)
      {{Members.added(object, more)}, look}
    else
      {{object}, look}
    end
  end

  defp complete(object, look) do
    look = if at(look) == ?} and current(look) == :array, do: move(look), else: look
    {{object}, look}
  end

  defp past_comma(look) do
    if at(look) == ?,, do: look |> move() |> skip_spaces(), else: look
  end
end
