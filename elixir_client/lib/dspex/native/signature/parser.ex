defmodule DSPex.Native.Signature.Parser do
  @moduledoc """
  Signature text to nodes, by recursive descent over our own grammar, which both languages of this project share:

      signature  = fields "->" fields
      fields     = [ field { "," field } [ "," ] ]
      field      = NAME [ ":" type ]
      type       = item { "|" item }
      item       = path [ "[" arguments "]" ] | constant | "(" [ type { "," type } [ "," ] ] ")" | constraint
      path       = NAME { "." NAME }
      constraint = "Field" "(" [ NAME "=" constant { "," NAME "=" constant } [ "," ] ] ")"

  Nodes are `{:name, path, span}`, `{:constant, value, span}`, `{:subscript, path, arguments, span}`,
  `{:alternatives, items, span}`, `{:group, items, span}` and `{:constraint, options, span}`; a span is
  `{offset, length}` in bytes.
  """

  alias DSPex.Native.Signature.Lexer

  @type span :: {non_neg_integer, non_neg_integer}
  @type type_node ::
          {:name, String.t(), span}
          | {:constant, term, span}
          | {:subscript, String.t(), [type_node], span}
          | {:alternatives, [type_node], span}
          | {:group, [type_node], span}
          | {:constraint, [{String.t(), type_node}], span}
  @type field_node :: {String.t(), type_node | nil, span}

  @max_depth 100
  @form "Write it as `input: type, input -> output: type`."
  @keywords ~w(False None True and as assert async await break class continue def del elif else except finally for from
               global if import in is lambda nonlocal not or pass raise return try while with yield)
            |> Map.new(&{&1, true})
  @constants %{"None" => nil, "True" => true, "False" => false}

  @doc "Parses a whole signature into its input and output fields."
  @spec signature(String.t()) :: {:ok, [field_node], [field_node]} | {:error, Lexer.problem()}
  def signature(text) do
    with {:ok, at} <- arrow(text),
         {:ok, left} <- Lexer.tokens(text, 0, at),
         {:ok, right} <- Lexer.tokens(text, at + 2, byte_size(text)) do
      inputs = fields(left, [])
      outputs = fields(right, [])
      distinct(inputs ++ outputs, %{})
      {:ok, inputs, outputs}
    end
  catch
    {:problem, {offset, length}, reason, suggestion} -> {:error, {offset, length, reason, suggestion}}
  end

  @doc "Parses one type that stands alone."
  @spec type(String.t()) :: {:ok, type_node} | {:error, Lexer.problem()}
  def type(text) do
    with {:ok, tokens} <- Lexer.tokens(text, 0, byte_size(text)) do
      case type(tokens, 0) do
        {node, [{:end, _value, _at, _length}]} -> {:ok, node}
        {_node, [token | _rest]} -> fail(token, "#{shown(token)} is not expected here", "A type ends before this.")
      end
    end
  catch
    {:problem, {offset, length}, reason, suggestion} -> {:error, {offset, length, reason, suggestion}}
  end

  defp arrow(text) do
    case :binary.matches(text, "->") do
      [{at, 2}] -> {:ok, at}
      [] -> {:error, {byte_size(text), 0, "a signature needs one `->` and this has none", @form}}
      [_first, {at, 2} | _more] -> {:error, {at, 2, "a signature has exactly one `->` and this has more", @form}}
    end
  end

  defp distinct([], _seen), do: :ok

  defp distinct([{name, _type, span} | fields], seen) do
    if is_map_key(seen, name),
      do: fail(span, "the field `#{name}` stands twice", "Give each input and output a name of its own."),
      else: distinct(fields, Map.put(seen, name, true))
  end

  defp fields([{:end, _value, _at, _length}], done), do: Enum.reverse(done)

  defp fields(tokens, done) do
    {field, rest} = field(tokens)

    case rest do
      [{:symbol, ",", _at, _length} | rest] -> fields(rest, [field | done])
      [{:end, _value, _at, _length}] -> Enum.reverse([field | done])
      [token | _rest] -> after_field(token)
    end
  end

  defp field([{:name, name, at, length} = token | rest]) do
    if is_map_key(@keywords, name),
      do: fail(token, "`#{name}` is a word of Python and cannot name a field", "Use `#{name}_`.")

    if binary_part(name, 0, 1) == "_",
      do: fail(token, "a field's name cannot begin with `_`", "Use `#{bare(name)}`.")

    case rest do
      [{:symbol, ":", _colon_at, _colon_length} | rest] ->
        {type, rest} = type(rest, 0)
        {{name, type, {at, length}}, rest}

      rest ->
        {{name, nil, {at, length}}, rest}
    end
  end

  defp field([{:symbol, symbol, _at, _length} = token | _rest]) when symbol in ["*", "**", "/"],
    do: fail(token, "`#{symbol}` would be dropped silently", "Name each field.")

  defp field([token | _rest]), do: fail(token, "a field's name is expected, not #{shown(token)}", @form)

  defp bare(name) do
    case String.trim_leading(name, "_") do
      "" -> "value"
      bare -> bare
    end
  end

  @spec after_field(tuple) :: no_return
  defp after_field({:symbol, "=", _at, _length} = token),
    do: fail(token, "fields have no default values", "Leave the `=` and what follows out.")

  defp after_field(token), do: fail(token, "#{shown(token)} is not expected here", "Part fields by commas.")

  defp type([token | _rest], depth) when depth > @max_depth,
    do: fail(token, "types are nested deeper than #{@max_depth}", "Give the inner type a name.")

  defp type(tokens, depth) do
    case item(tokens, depth) do
      {first, [{:symbol, "|", _at, _length} | _more] = rest} -> alternatives(rest, [first], depth)
      found -> found
    end
  end

  defp alternatives([{:symbol, "|", _at, _length} | rest], items, depth) do
    {item, rest} = item(rest, depth)
    alternatives(rest, [item | items], depth)
  end

  defp alternatives(rest, items, _depth),
    do: {{:alternatives, Enum.reverse(items), around(List.last(items), hd(items))}, rest}

  defp item([{:string, value, at, length} | rest], _depth), do: joined(value, at, length, rest)
  defp item([{:number, value, at, length} | rest], _depth), do: {{:constant, value, {at, length}}, rest}
  defp item([{:name, name, at, length} | rest], depth), do: named(name, at, length, rest, depth)
  defp item([{:symbol, "...", at, length} | rest], _depth), do: {{:constant, :ellipsis, {at, length}}, rest}
  defp item([{:symbol, "(", at, _length} = opening | rest], depth), do: group(opening, at, rest, depth)

  defp item([{:symbol, "[", _at, _length} = token | _rest], _depth),
    do: fail(token, "a list of types is no type", "A list is written `list[type]`.")

  defp item([token | _rest], _depth),
    do: fail(token, "a type is expected, not #{shown(token)}", "For example `str`, `list[int]`, `Literal['a', 'b']`.")

  # 'a' 'b' is one text in Python.
  defp joined(value, at, _length, [{:string, more, more_at, more_length} = token | rest]) do
    case {value, more} do
      {{:bytes, left}, {:bytes, right}} ->
        joined({:bytes, left <> right}, at, more_at + more_length - at, rest)

      {left, right} when is_binary(left) and is_binary(right) ->
        joined(left <> right, at, more_at + more_length - at, rest)

      _mixed ->
        fail(token, "text and bytes cannot be joined", "Write one literal.")
    end
  end

  defp joined(value, at, length, rest), do: {{:constant, value, {at, length}}, rest}

  defp named(name, at, length, rest, _depth) when is_map_key(@constants, name),
    do: {{:constant, @constants[name], {at, length}}, rest}

  defp named(name, at, length, _rest, _depth) when is_map_key(@keywords, name),
    do: fail({at, length}, "`#{name}` is no type", "Signatures hold types, no expressions.")

  defp named(name, at, length, rest, depth) do
    {path, stop, rest} = path(name, at + length, rest)

    case rest do
      [{:symbol, "[", _open, _length} = opening | rest] -> subscript(path, at, opening, rest, depth)
      [{:symbol, "(", _open, _length} | rest] when path == "Field" -> constraint(at, rest, [])
      [{:symbol, "(", _open, _length} = token | _rest] -> called(path, token)
      rest -> {{:name, path, {at, stop - at}}, rest}
    end
  end

  @spec called(String.t(), tuple) :: no_return
  defp called(path, token),
    do: fail(token, "`#{path}(…)` is a call, and nothing is called here", "Write the type alone.")

  defp path(path, _stop, [{:symbol, ".", _at, _length}, {:name, name, name_at, length} | rest]),
    do: path(path <> "." <> name, name_at + length, rest)

  defp path(_path, _stop, [{:symbol, ".", _at, _length}, token | _rest]),
    do: fail(token, "a name is expected after the dot", "For example `datetime.date`.")

  defp path(path, stop, rest), do: {path, stop, rest}

  defp subscript(path, at, opening, rest, depth) do
    case items(rest, "]", depth, opening, []) do
      {[], _comma?, stop, _rest} ->
        example = "Write `#{path}` alone, or `#{path}[type]`."
        fail({at, stop - at}, "`#{path}[]` has no argument", example)

      {[{:group, _items, span}], true, _stop, _rest} ->
        fail(span, "a group is no type", "Write the types without parentheses.")

      {items, _comma?, stop, rest} ->
        follows(path, rest)
        {{:subscript, path, arguments(items), {at, stop - at}}, rest}
    end
  end

  # `Literal[('a', 'b')]` and `Literal['a', 'b']` are the same in Python.
  defp arguments([{:group, items, _span}]), do: items
  defp arguments(items), do: items

  defp follows(path, [{:symbol, symbol, _at, _length} = token | _rest]) when symbol in ["[", "."],
    do: fail(token, "nothing may follow `#{path}[…]`", "Write one pair of brackets.")

  defp follows(_path, _rest), do: :ok

  defp group(opening, at, rest, depth) do
    case items(rest, ")", depth, opening, []) do
      {[item], false, _stop, rest} -> {item, rest}
      {items, _comma?, stop, rest} -> {{:group, items, {at, stop - at}}, rest}
    end
  end

  defp items([{:symbol, closing, at, length} | rest], closing, _depth, _opening, done),
    do: {Enum.reverse(done), done != [], at + length, rest}

  defp items([{:end, _value, _at, _length} | _rest], closing, _depth, {_kind, symbol, _at0, _length0} = opening, _done),
    do: fail(opening, "this `#{symbol}` is not closed", "Add a `#{closing}`.")

  defp items(tokens, closing, depth, opening, done) do
    {item, rest} = type(tokens, depth + 1)

    case rest do
      [{:symbol, ",", _at, _length} | rest] -> items(rest, closing, depth, opening, [item | done])
      [{:symbol, ^closing, at, length} | rest] -> {Enum.reverse([item | done]), false, at + length, rest}
      [{:end, _value, _at, _length} | _rest] -> items(rest, closing, depth, opening, done)
      [token | _rest] -> fail(token, "#{shown(token)} is not expected here", "Expected `,` or `#{closing}`.")
    end
  end

  defp constraint(at, [{:symbol, ")", stop, length} | rest], done),
    do: {{:constraint, Enum.reverse(done), {at, stop + length - at}}, rest}

  defp constraint(at, [{:name, name, _at, _length}, {:symbol, "=", _eq, _eq_length} | rest], done) do
    {value, rest} = option(name, rest)

    case rest do
      [{:symbol, ",", _comma, _length0} | rest] -> constraint(at, rest, [{name, value} | done])
      [{:symbol, ")", _close, _length0} | _more] -> constraint(at, rest, [{name, value} | done])
      [token | _rest] -> fail(token, "#{shown(token)} is not expected here", "Expected `,` or `)`.")
    end
  end

  defp constraint(_at, [token | _rest], _done),
    do: fail(token, "`Field` takes options by name", "For example `Field(ge=0, le=10)`.")

  defp option(_name, [{kind, _value, _at, _length} | _rest] = tokens) when kind in [:string, :number],
    do: item(tokens, 0)

  defp option(_name, [{:name, word, at, length} | rest]) when is_map_key(@constants, word),
    do: {{:constant, @constants[word], {at, length}}, rest}

  defp option(name, [token | _rest]),
    do: fail(token, "a number or a text is expected for `#{name}`", "For example `Field(ge=0)`.")

  defp around(first, last) do
    {start, _length} = span(first)
    {at, length} = span(last)
    {start, at + length - start}
  end

  @doc "The place of a node."
  @spec span(type_node) :: span
  def span(node), do: elem(node, tuple_size(node) - 1)

  defp shown({:end, _value, _at, _length}), do: "the end of the text"
  defp shown({:string, _value, _at, _length}), do: "a string"
  defp shown({_kind, value, _at, _length}), do: "`#{value}`"

  @spec fail(Lexer.token() | span, String.t(), String.t()) :: no_return
  defp fail({_kind, _value, at, length}, reason, suggestion), do: throw({:problem, {at, length}, reason, suggestion})
  defp fail(span, reason, suggestion), do: throw({:problem, span, reason, suggestion})
end
