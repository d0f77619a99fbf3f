defmodule DSPex.Native.Signature.Resolver do
  @moduledoc "Type nodes to types, through the table of names and the registered types."

  alias DSPex.Native.Signature.Parser
  alias DSPex.Native.Signature.Table
  alias DSPex.Native.Signature.Type

  # In the order in which pydantic keeps and shows them.
  @field_options ~w(title description strict gt ge lt le multiple_of min_length max_length allow_inf_nan pattern
                    max_digits decimal_places)
  @numeric ~w(gt ge lt le multiple_of)
  @lengths ~w(min_length max_length max_digits decimal_places)

  @doc "The type of a whole field, or where it is wrong."
  @spec type(Parser.type_node(), Table.registered()) ::
          {:ok, Type.t()} | {:error, DSPex.Native.Signature.Lexer.problem()}
  def type(node, registered) do
    {:ok, field(node, registered)}
  catch
    {:problem, {offset, length}, reason, suggestion} -> {:error, {offset, length, reason, suggestion}}
  end

  defp field({kind, _value, _span} = node, _registered) when kind in [:constant, :group, :constraint],
    do: fail(node, "this is a value, not a type", "For example `str`, `list[int]`, `Literal['a', 'b']`.")

  defp field(node, registered) do
    case resolve(node, registered) do
      {:bare, _kind} -> fail(node, "`#{elem(node, 1)}` is no type by itself", example(elem(node, 1)))
      type -> type
    end
  end

  defp resolve({:name, path, _span} = node, registered) do
    case Table.lookup(path, registered) do
      {:constructor, kind, _arity, nil} -> bare(kind, path, node)
      {:constructor, _kind, _arity, type} -> type
      nil -> fail(node, "the type `#{path}` is not known", Table.suggestion(path, registered))
      type -> type
    end
  end

  defp resolve({:alternatives, [first | items], _span}, registered) do
    {type, _none} =
      Enum.reduce(
        items,
        {resolve(first, registered), match?({:constant, _value, _span}, first)},
        &either(&1, &2, registered)
      )

    type
  end

  defp resolve({:subscript, path, arguments, _span} = node, registered) do
    case Table.lookup(path, registered) do
      {:constructor, kind, arity, _bare} -> construct(kind, arity, path, arguments, node, registered)
      nil -> fail(node, "the type `#{path}` is not known", Table.suggestion(path, registered))
      _type -> fail(node, "`#{path}` takes no type arguments", "Write `#{path}` alone.")
    end
  end

  defp resolve({:constant, nil, _span}, _registered), do: :none
  defp resolve({:constant, text, _span} = node, registered) when is_binary(text), do: quoted(text, node, registered)
  defp resolve(node, _registered), do: fail(node, "this is a value, not a type", "Values stand only in `Literal[…]`.")

  # DSPy joins alternatives two by two, and puts a NoneType on the left behind the other; the constant None stays first.
  defp either(node, {:none, false}, registered), do: {union([resolve(node, registered), :none]), false}
  defp either(node, {left, _constant?}, registered), do: {union([left, resolve(node, registered)]), false}

  # `List` stands for a list of anything inside another type, though not for a whole field.
  defp bare(kind, _path, _node) when kind in [:list, :set, :frozenset, :dict, :tuple], do: {:bare, {kind, []}}
  defp bare({:generic, name}, _path, _node) when name != "collections.defaultdict", do: {:bare, {:generic, name, []}}
  defp bare(_kind, path, node), do: fail(node, "`#{path}` is no type by itself", example(path))

  defp construct(:literal, _arity, _path, arguments, node, registered) do
    case arguments |> Enum.flat_map(&literal(&1, registered)) |> unique() do
      [] -> fail(node, "a literal needs at least one value", "For example `Literal['a', 'b']`.")
      values -> {:literal, values}
    end
  end

  defp construct(:union, _arity, _path, [], node, _registered),
    do: fail(node, "a union needs at least one type", "For example `Union[int, str]`.")

  defp construct(:union, _arity, _path, arguments, _node, registered),
    do: arguments |> Enum.map(&resolve(&1, registered)) |> union()

  defp construct(:annotated, _arity, _path, [type | [_first | _more] = extras], _node, registered) do
    metadata = Enum.map(extras, &metadata/1)
    inner = resolve(type, registered)
    extras |> Enum.zip(metadata) |> Enum.each(&applicable(&1, inner))

    case inner do
      {:annotated, inner, before} -> {:annotated, inner, before ++ metadata}
      inner -> {:annotated, inner, metadata}
    end
  end

  defp construct(:annotated, _arity, _path, _arguments, node, _registered),
    do: fail(node, "`Annotated` takes a type and at least one constraint", "Write the type alone.")

  defp construct(:code, _arity, _path, [{:constant, language, _span}], _node, _registered) when is_binary(language),
    do: {:code, language}

  defp construct(:code, _arity, _path, _arguments, node, _registered),
    do: fail(node, "`dspy.Code` takes the name of a language", "For example `dspy.Code['python']`.")

  defp construct(:tuple, _arity, path, arguments, _node, registered),
    do: {:tuple, tuple(arguments, 0, path, registered)}

  defp construct(_kind, arity, path, arguments, node, _registered) when length(arguments) != arity do
    plural = if arity == 1, do: "", else: "s"
    fail(node, "`#{path}` takes #{arity} type argument#{plural}, not #{length(arguments)}", example(path))
  end

  defp construct(:optional, _arity, _path, [argument], _node, registered),
    do: union([resolve(argument, registered), :none])

  defp construct({:generic, name}, _arity, path, arguments, node, registered) do
    arguments = Enum.map(arguments, &resolve(&1, registered))

    if name == "collections.defaultdict" and not default?(List.last(arguments)),
      do: fail(node, "`#{path}` needs values that have a default of their own", "For example `#{path}[str, int]`."),
      else: {:generic, name, arguments}
  end

  defp construct(kind, _arity, path, arguments, _node, registered),
    do: {kind, Enum.map(arguments, &argument(&1, path, registered))}

  # As in Python: `list[None]` holds None itself, `List[None]` the type NoneType; DSPy shows them differently.
  defp argument({:constant, nil, _span}, path, _registered) when path in ["list", "set", "frozenset", "dict", "tuple"],
    do: :none_value

  defp argument(node, _path, registered), do: resolve(node, registered)

  @with_default ~w(collections.abc.Sequence collections.abc.MutableSequence collections.abc.Set collections.abc.MutableSet
                   collections.abc.Mapping collections.abc.MutableMapping collections.OrderedDict collections.Counter)

  defp default?(type) when type in [:int, :float, :str, :bool, :list, :dict, :tuple, :set, :frozenset], do: true
  defp default?({kind, _args}) when kind in [:list, :dict, :tuple, :set, :frozenset], do: true
  defp default?({:generic, name, _args}), do: name in @with_default
  defp default?({:bare, type}), do: default?(type)
  defp default?(_type), do: false

  # Limits of another kind than the values make pydantic fail when it builds the type.
  defp applicable({node, {:field, options}}, type) do
    for {name, value} <- options, unfit?(name, value, type) do
      fail(node, "`#{name}=#{value}` cannot limit `#{Type.to_text(type)}`", "Give a limit of the same type.")
    end
  end

  defp applicable(_constant, _type), do: :ok

  @unfit_for_strict ["collections.abc.Sequence", "collections.abc.Iterable"]

  defp unfit?("allow_inf_nan", true, type), do: type not in [:float, {:class, "decimal.Decimal"}]

  defp unfit?(name, value, {:union, types}) do
    case Enum.reject(types, &(&1 == :none)) do
      [one] when length(types) == 2 -> unfit?(name, value, one)
      _several -> name == "strict"
    end
  end

  defp unfit?("multiple_of", value, type) when type in [:int, :float] and value == 0, do: true
  defp unfit?(name, value, :int) when name in @numeric, do: trunc(value) != value
  defp unfit?("multiple_of", _value, {:class, "datetime.date"}), do: false
  defp unfit?(name, _value, {:class, "datetime.date"}) when name in @numeric, do: true
  defp unfit?("strict", _value, type) when type in [:any, :none, :none_value], do: true
  defp unfit?("strict", _value, {:literal, _values}), do: true
  defp unfit?("strict", _value, {:generic, name, _args}), do: name in @unfit_for_strict
  defp unfit?(_name, _value, _type), do: false

  # `...` stands only as the second and last argument: any number of the first.
  defp tuple([{:constant, :ellipsis, _span}], 1, _path, _registered), do: [:ellipsis]
  defp tuple([], _at, _path, _registered), do: []

  defp tuple([argument | more], at, path, registered),
    do: [argument(argument, path, registered) | tuple(more, at + 1, path, registered)]

  # Python flattens unions and keeps the first of equal ones.
  defp union(types) do
    case types |> Enum.flat_map(&members/1) |> Enum.uniq() do
      [type] -> type
      types -> {:union, types}
    end
  end

  defp members({:union, types}), do: types
  defp members(type), do: [type]

  defp literal({:constant, :ellipsis, _span} = node, _registered), do: no_literal(node)
  defp literal({:constant, value, _span}, _registered), do: [value]

  defp literal({:subscript, path, arguments, _span} = node, registered) do
    case Table.lookup(path, registered) do
      {:constructor, :literal, _arity, _bare} -> Enum.flat_map(arguments, &literal(&1, registered))
      _other -> no_literal(node)
    end
  end

  defp literal(node, _registered), do: no_literal(node)

  @spec no_literal(tuple) :: no_return
  defp no_literal(node),
    do: fail(node, "a literal holds texts, numbers, `True`, `False` and `None`", "Quote it: 'text'.")

  # 1, 1.0 and True are different values of a literal.
  defp unique(values), do: Enum.uniq_by(values, &{DSPex.Native.Python.type_name(&1), &1})

  defp metadata({:constant, value, _span}) when value != :ellipsis, do: {:constant, value}

  defp metadata({:constraint, options, _span}) do
    options = for {name, {:constant, value, _span} = node} <- options, do: {name, option(name, value, node)}
    # `None` is no limit, as in Python.
    {:field, for(name <- @field_options, {^name, value} when value != nil <- options, do: {name, value})}
  end

  defp metadata(node),
    do: fail(node, "only `Field(…)` and constants may follow the type", "For example `Field(ge=0, le=10)`.")

  defp option(name, _value, node) when name not in @field_options,
    do: fail(node, "`Field` has no option `#{name}` here", "Known are #{Enum.join(@field_options, ", ")}.")

  defp option(_name, nil, _node), do: nil

  defp option(name, value, node) when name in @numeric and not is_number(value),
    do: fail(node, "`#{name}` takes a number", "For example `Field(#{name}=1)`.")

  defp option(name, value, node) when name in @lengths and not (is_integer(value) and value >= 0),
    do: fail(node, "`#{name}` takes a whole number", "For example `Field(#{name}=1)`.")

  defp option("pattern", value, node) do
    if is_binary(value) and match?({:ok, _regex}, Regex.compile(value, "u")),
      do: value,
      else: fail(node, "`pattern` takes a regular expression", "For example `Field(pattern='[a-z]+')`.")
  end

  defp option(name, value, node) when name in ["strict", "allow_inf_nan"] and not is_boolean(value),
    do: fail(node, "`#{name}` takes `True` or `False`", "For example `Field(#{name}=False)`.")

  defp option(_name, value, _node), do: value

  # Python reads what is quoted as an expression, which begins at once.
  defp quoted(<<blank, _rest::binary>>, node, _registered) when blank in [?\s, ?\t],
    do: fail(node, "a type in quotes cannot begin with a blank", "Write the type without quotes.")

  defp quoted(text, node, registered) do
    with {:ok, inner} <- Parser.type(text), {:ok, type} <- type(inner, registered) do
      type
    else
      {:error, {_offset, _length, reason, _suggestion}} ->
        fail(node, "#{reason} (in quotes)", "Only `Literal[…]` holds texts; write types without quotes.")
    end
  end

  defp example(path) do
    case List.last(String.split(path, ".")) do
      name when name in ["Dict", "dict", "Mapping", "MutableMapping", "DefaultDict", "OrderedDict"] ->
        "For example `#{path}[str, int]`."

      "Literal" ->
        "For example `#{path}['a', 'b']`."

      "Union" ->
        "For example `#{path}[int, str]`."

      "Annotated" ->
        "For example `#{path}[int, Field(ge=0)]`."

      _name ->
        "For example `#{path}[str]`."
    end
  end

  @spec fail(Parser.type_node(), String.t(), String.t()) :: no_return
  defp fail(node, reason, suggestion), do: throw({:problem, Parser.span(node), reason, suggestion})
end
