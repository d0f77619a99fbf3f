defmodule DSPex.Native.PythonLiteral do
  @moduledoc """
  Python's `ast.literal_eval` for what LMs write: texts, bytes, numbers, lists, tuples, dicts, sets, `True`, `False`,
  `None`. Nothing is called or looked up; depth is bounded.

      iex> DSPex.Native.PythonLiteral.eval("{'a': (1, -2.5), 'b': [None]}")
      {:ok, {[{"a", {:tuple, [1, -2.5]}}, {"b", [nil]}]}}
      iex> DSPex.Native.PythonLiteral.eval("Person(age=3)")
      :error
  """

  alias DSPex.Native.Python
  alias DSPex.Native.Signature.Lexer

  @max_depth 90
  @max_bytes 1_000_000
  @constants %{"None" => nil, "True" => true, "False" => false}

  @doc "The value of a literal."
  @spec eval(String.t()) :: {:ok, Python.value()} | :error
  def eval(text) when byte_size(text) > @max_bytes, do: :error

  def eval(text) do
    text = String.trim_leading(text, " ") |> String.trim_leading("\t")

    with false <- several_lines?(text),
         {:ok, tokens} <- tokens(text),
         {value, [{:end, _value, _at, _length}]} <- expression(tokens) do
      {:ok, value}
    else
      _other -> :error
    end
  catch
    :no_literal -> :error
  end

  # A comment may run to the end of the text.
  defp tokens(text) do
    text = if String.contains?(text, "#"), do: text <> "\n", else: text
    Lexer.tokens(text, 0, byte_size(text))
  end

  # A new line ends an expression, unless it stands in brackets.
  defp several_lines?(text) do
    String.match?(text, ~r/\A\s*[\r\n]/) or
      (String.match?(text, ~r/\S\s*[\r\n]\s*\S/) and not String.match?(text, ~r/\A\s*[\[({bBrR"']/))
  end

  defp expression(tokens) do
    case value(tokens, 0) do
      {first, [{:symbol, ",", _at, _length} | rest]} -> bare_tuple(rest, [first])
      found -> found
    end
  end

  defp bare_tuple([{:end, _value, _at, _length}] = rest, done), do: {{:tuple, Enum.reverse(done)}, rest}

  defp bare_tuple(tokens, done) do
    case value(tokens, 0) do
      {item, [{:symbol, ",", _at, _length} | rest]} -> bare_tuple(rest, [item | done])
      {item, rest} -> {{:tuple, Enum.reverse([item | done])}, rest}
    end
  end

  defp value(_tokens, depth) when depth > @max_depth, do: no()
  defp value([{:string, text, _at, _length} | rest], _depth), do: joined(text, rest)
  defp value([{:number, number, _at, _length} | rest], _depth), do: {number, rest}

  defp value([{:name, name, _at, _length} | rest], _depth) when is_map_key(@constants, name),
    do: {@constants[name], rest}

  defp value([{:name, "set", _at, _length}, {:symbol, "(", _open, _l1}, {:symbol, ")", _close, _l2} | rest], _depth),
    do: {{:set, []}, rest}

  defp value([{:symbol, sign, _at, _length} | rest], depth) when sign in ["-", "+"], do: signed(sign, rest, depth)
  defp value([{:symbol, "[", _at, _length} | rest], depth), do: items(rest, "]", depth + 1, [])
  defp value([{:symbol, "(", _at, _length} | rest], depth), do: group(rest, depth + 1)
  defp value([{:symbol, "{", _at, _length}, {:symbol, "}", _close, _l} | rest], _depth), do: {{[]}, rest}
  defp value([{:symbol, "{", _at, _length} | rest], depth), do: braces(rest, depth + 1)
  defp value(_tokens, _depth), do: no()

  defp joined(text, [{:string, more, _at, _length} | rest]) when is_binary(text) and is_binary(more),
    do: joined(text <> more, rest)

  defp joined({:bytes, text}, [{:string, {:bytes, more}, _at, _length} | rest]),
    do: joined({:bytes, text <> more}, rest)

  defp joined(_text, [{:string, _more, _at, _length} | _rest]), do: no()
  defp joined(text, rest), do: {text, rest}

  # One sign, and of a number alone.
  defp signed(sign, tokens, depth) do
    if twice?(tokens), do: no()

    case value(tokens, depth + 1) do
      {number, rest} when is_number(number) -> {if(sign == "-", do: -number, else: number), rest}
      _other -> no()
    end
  end

  defp twice?([{:symbol, "(", _at, _length} | rest]), do: twice?(rest)
  defp twice?([{:symbol, symbol, _at, _length} | _rest]), do: symbol in ["-", "+"]
  defp twice?(_tokens), do: false

  defp items([{:symbol, closing, _at, _length} | rest], closing, _depth, done), do: {Enum.reverse(done), rest}

  defp items(tokens, closing, depth, done) do
    {item, rest} = value(tokens, depth)

    case rest do
      [{:symbol, ",", _at, _length} | rest] -> items(rest, closing, depth, [item | done])
      [{:symbol, ^closing, _at, _length} | rest] -> {Enum.reverse([item | done]), rest}
      _other -> no()
    end
  end

  # `(1)` is 1, `(1,)` a tuple.
  defp group([{:symbol, ")", _at, _length} | rest], _depth), do: {{:tuple, []}, rest}

  defp group(tokens, depth) do
    case value(tokens, depth) do
      {item, [{:symbol, ")", _at, _length} | rest]} ->
        {item, rest}

      {item, [{:symbol, ",", _at, _length} | rest]} ->
        {items, rest} = items(rest, ")", depth, [item])
        {{:tuple, items}, rest}

      _other ->
        no()
    end
  end

  defp braces(tokens, depth) do
    case value(tokens, depth) do
      {_key, [{:symbol, ":", _at, _length} | _rest]} ->
        pairs(tokens, depth, [])

      _item ->
        {items, rest} = items(tokens, "}", depth, [])
        {{:set, Python.unique(items)}, rest}
    end
  end

  defp pairs([{:symbol, "}", _at, _length} | rest], _depth, done), do: {{unique(done)}, rest}

  defp pairs(tokens, depth, done) do
    with {key, [{:symbol, ":", _at, _length} | rest]} when not is_list(key) <- value(tokens, depth),
         {item, rest} <- value(rest, depth) do
      case rest do
        [{:symbol, ",", _at, _length} | rest] -> pairs(rest, depth, [{key, item} | done])
        [{:symbol, "}", _at, _length} | rest] -> {{unique([{key, item} | done])}, rest}
        _other -> no()
      end
    else
      _other -> no()
    end
  end

  # The last value of a key goes to the place of its first.
  defp unique(reversed) do
    pairs = Enum.reverse(reversed)
    values = Map.new(pairs)
    pairs |> Enum.uniq_by(&elem(&1, 0)) |> Enum.map(fn {key, _value} -> {key, values[key]} end)
  end

  @spec no() :: no_return
  defp no, do: throw(:no_literal)
end
