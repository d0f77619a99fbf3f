defmodule DSPex.Native.Adapter.Repair.Parser do
  @moduledoc false
  # The values of json_repair: what begins where, arrays, numbers, comments, tuples. Each function gives its value and the
  # text behind it.

  import DSPex.Native.Adapter.Repair.Look
  import DSPex.Native.Python, only: [is_space: 1]

  alias DSPex.Native.Adapter.PythonJson
  alias DSPex.Native.Adapter.Repair.Look
  alias DSPex.Native.Adapter.Repair.Objects
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
      char == ?( and (inside? or top_level_group?(look)) -> group(look)
      char == ?( -> look |> move() |> dispatch(first?)
      inside? and (is_quote(char) or alpha?(char)) -> Strings.parse(look)
      inside? and (digit?(char) or char in [?-, ?.]) -> number(look)
      char in [?#, ?/] -> comment(look)
      is_quote(char) and first? -> missing_brace(char, look)
      true -> look |> move() |> dispatch(first?)
    end
  end

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

  defp open(?{, look), do: look |> move() |> Objects.parse()
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

  @doc "An array after its opening bracket."
  @spec array(Look.t(), non_neg_integer) :: parsed
  def array(look, closing) do
    member? = current(look) == :value
    {items, look, moved} = look |> enter(:array) |> items(closing, member?, [])
    {Enum.reverse(items), look |> leave() |> move(moved)}
  end

  defp items(look, closing, member?, items) do
    look = skip_spaces_and_comments(look)
    char = at(look)

    cond do
      char == nil or char == closing or char == ?} ->
        {items, look, 1}

      char == ?, ->
        look |> move() |> items(closing, member?, items)

      is_quote(char) and key_ahead?(look, char) and member? and items != [] and Enum.all?(items, &scalar?/1) ->
        {items, look, 0}

      is_quote(char) and key_ahead?(look, char) ->
        look |> Objects.parse() |> item(closing, member?, items)

      is_quote(char) ->
        look |> Strings.parse() |> item(closing, member?, items)

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
    tuple? = tuple?(look)

    case look |> move() |> array(?)) do
      {[value], look} when not tuple? -> {value, look}
      found -> found
    end
  end

  # `(1)` is a value in brackets, `(1,)` and `()` are tuples.
  defp tuple?(look), do: tuple(look, 1, {0, 0, 0}, nil, 0, false)

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

  # In prose a bracket opens a remark; on a line of its own it may open a value.
  defp top_level_group?(look), do: line_start?(look, look.index - 1) and value_start?(look) and closes_line?(look)

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
      true -> Enum.take(word, 4) in ['true', 'null', 'none'] or word == 'false'
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

  @number [?-, ?., ?e, ?E, ?/, ?,, ?_] ++ Enum.to_list(?0..?9)

  defp number(look) do
    {digits, stop} = digits(look, current(look) == :array, [])

    if alpha?(at(stop)) do
      Strings.parse(look)
    else
      case digits do
        [last | rest] when last in [?-, ?+, ?e, ?E, ?/, ?,] -> {rest |> Enum.reverse() |> read(), move(stop, -1)}
        digits -> {digits |> Enum.reverse() |> read(), stop}
      end
    end
  end

  defp digits(look, array?, done) do
    char = at(look)

    cond do
      array? and char == ?, -> {done, look}
      char == ?_ -> look |> move() |> digits(array?, done)
      char in @number -> look |> move() |> digits(array?, [char | done])
      char == ?+ and match?([e | _rest] when e in [?e, ?E], done) -> look |> move() |> digits(array?, [char | done])
      true -> {done, look}
    end
  end

  defp read(digits) do
    text = List.to_string(digits)

    cond do
      String.contains?(text, ",") ->
        text

      String.contains?(text, [".", "e", "E"]) ->
        with {:ok, value} <- Python.float(text), do: value, else: (:error -> text)

      byte_size(text) < 4300 and text =~ ~r/\A-?\d+\z/ ->
        String.to_integer(text)

      true ->
        text
    end
  end

  @doc "A comment; at the top level also the value behind it."
  @spec comment(Look.t()) :: parsed
  def comment(look) do
    look = skip_comment(look)

    cond do
      look.context != [] -> {"", look}
      at(skip_spaces(look)) in [?#, ?/] -> look |> skip_spaces() |> comment()
      true -> look |> skip_spaces() |> value()
    end
  end

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
end
