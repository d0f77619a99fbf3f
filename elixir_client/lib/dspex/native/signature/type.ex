defmodule DSPex.Native.Signature.Type do
  @moduledoc """
  Types of fields as plain terms:

    * `:str`, `:int`, `:float`, `:bool`, `:none` (`:none_value` as DSPy shows `list[None]`), `:any`, `:bytes`, `:complex`, and bare `:list`, `:dict`, `:tuple`,
      `:set`, `:frozenset`
    * `{:list, args}`, `{:dict, args}`, `{:set, args}`, `{:frozenset, args}`, `{:tuple, args}` (`:ellipsis` last: any
      length), `{:generic, python_name, args}`
    * `{:bare, type}`: `List` and its like, without arguments, inside another type
    * `{:union, types}`, `{:literal, values}` (texts, numbers, booleans, `nil`, `{:bytes, binary}`)
    * `{:annotated, type, metadata}`: metadata are `{:field, [{name, value}]}` and `{:constant, value}`
    * `{:enum, definition}`, `{:model, definition}`: registered types, see `registered/2`
    * `{:dspy, name}`, `{:code, language}`, `{:class, python_name}`
  """

  alias DSPex.Native.Python

  @type t :: atom | tuple
  @type definition :: %{required(:name) => String.t(), optional(atom) => term}

  @generic_names %{
    "collections.abc.Iterable" => "Iterable",
    "collections.abc.Sequence" => "Sequence",
    "collections.abc.MutableSequence" => "MutableSequence",
    "collections.abc.Set" => "AbstractSet",
    "collections.abc.MutableSet" => "MutableSet",
    "collections.abc.Mapping" => "Mapping",
    "collections.abc.MutableMapping" => "MutableMapping",
    "collections.deque" => "Deque",
    "collections.defaultdict" => "DefaultDict",
    "collections.OrderedDict" => "OrderedDict",
    "collections.Counter" => "Counter"
  }
  @bare_names %{list: "List", dict: "Dict", tuple: "Tuple", set: "Set", frozenset: "FrozenSet"}
  @plain [:str, :int, :float, :bool, :bytes, :complex, :list, :dict, :tuple, :set, :frozenset]
  @containers [:list, :dict, :tuple, :set, :frozenset]
  @general ["pattern", "max_digits", "decimal_places"]

  @doc """
  A type from a JSON Schema that the user registers under `name`: an `enum` of texts or integers becomes an enum (member
  names from `"x-members"`, else the values), anything else a model. Schemas come as `{pairs}`, `DSPex.Ordered` or maps.
  """
  @spec registered(String.t(), term) :: t
  def registered(name, schema) do
    {pairs} = schema = Python.from_elixir(schema)
    title = pair(pairs, "title") || name

    case pair(pairs, "enum") do
      values when is_list(values) ->
        {:enum, %{name: title, members: Enum.zip(pair(pairs, "x-members") || Enum.map(values, &Python.str/1), values)}}

      nil ->
        {:model, %{name: title, schema: schema}}
    end
  end

  defp pair(pairs, name) do
    case List.keyfind(pairs, name, 0) do
      {_name, value} -> value
      nil -> nil
    end
  end

  @doc "The type without its annotations."
  @spec bare(t) :: t
  def bare({:annotated, type, _metadata}), do: bare(type)
  def bare(type), do: type

  @doc "Whether `None` is a value of it."
  @spec allows_none?(t) :: boolean
  def allows_none?(type) when type in [:none, :none_value], do: true
  def allows_none?({:annotated, type, _metadata}), do: allows_none?(type)
  def allows_none?({:union, types}), do: Enum.any?(types, &allows_none?/1)
  def allows_none?(_type), do: false

  @doc """
  The type tree that both languages compare: maps of `"kind"`, `"args"`, `"values"`, `"name"`.

      iex> DSPex.Native.Signature.Type.tree({:list, [:int]})
      %{"kind" => "list", "args" => [%{"kind" => "int"}]}
  """
  @spec tree(t) :: map
  def tree(type) when type in @plain or type in [:none, :any, :ellipsis], do: %{"kind" => Atom.to_string(type)}

  def tree({:bare, type}), do: type |> tree() |> Map.delete("args")
  def tree(:none_value), do: %{"kind" => "none"}

  def tree({kind, args}) when kind in @containers or kind == :union,
    do: %{"kind" => Atom.to_string(kind), "args" => Enum.map(args, &tree/1)}

  def tree({:generic, name, args}), do: %{"kind" => name, "args" => Enum.map(args, &tree/1)}
  def tree({:literal, values}), do: %{"kind" => "literal", "values" => Enum.map(values, &value_tree/1)}
  def tree({:annotated, type, _metadata}), do: tree(type)
  def tree({kind, %{name: name}}) when kind in [:enum, :model], do: %{"kind" => Atom.to_string(kind), "name" => name}
  def tree({:dspy, name}), do: %{"kind" => "dspy_type", "name" => name}
  def tree({:code, _language} = type), do: %{"kind" => "dspy_type", "name" => name(type)}
  def tree({:class, name}), do: %{"kind" => "class", "name" => name}

  defp value_tree(value) when is_float(value) or is_tuple(value),
    do: %{"type" => Python.type_name(value), "value" => Python.repr(value)}

  defp value_tree(value), do: %{"type" => Python.type_name(value), "value" => value}

  @doc """
  The name that DSPy shows the LM.

      iex> DSPex.Native.Signature.Type.name({:union, [{:list, [:int]}, :none]})
      "Union[list[int], NoneType]"
  """
  @spec name(t) :: String.t()
  def name(:none), do: "NoneType"
  def name(:none_value), do: "None"
  def name({:bare, type}), do: name(type)
  def name(:any), do: "Any"
  def name(:ellipsis), do: "Ellipsis"
  def name(type) when type in @plain, do: Atom.to_string(type)
  def name({kind, args}) when kind in @containers, do: "#{kind}[#{names(args)}]"
  def name({:union, args}), do: "Union[#{names(args)}]"
  def name({:generic, path, args}), do: "#{path |> String.split(".") |> List.last()}[#{names(args)}]"
  def name({:literal, values}), do: "Literal[#{Enum.map_join(values, ", ", &literal_name/1)}]"

  def name({:annotated, type, metadata}),
    do: Enum.join(["Annotated[" <> name(type) | Enum.map(metadata, &extra/1)], ", ") <> "]"

  def name({kind, %{name: name}}) when kind in [:enum, :model], do: name
  # DSPy shows its reasoning type as plain text.
  def name({:dspy, "Reasoning"}), do: "str"
  def name({:dspy, name}), do: name
  def name({:code, language}), do: "Code_(#{Python.repr(language)},)"
  def name({:class, path}), do: path |> String.split(".") |> List.last()

  defp names(args), do: Enum.map_join(args, ", ", &name/1)

  defp extra({:constant, value}), do: Python.str(value)
  defp extra({:field, options}), do: "annotation=NoneType required=True" <> field_text(options)

  defp field_text(options) do
    {plain, constraints} = Enum.split_with(options, fn {name, _value} -> name in ["title", "description"] end)
    plain = for name <- ["title", "description"], {^name, value} <- plain, do: " #{name}=#{Python.repr(value)}"
    {general, constraints} = Enum.split_with(constraints, fn {name, _value} -> name in @general end)
    metadata = Enum.join(Enum.map(constraints, &constraint_text/1) ++ general_text(general), ", ")
    Enum.join(plain) <> if(metadata == "", do: "", else: " metadata=[#{metadata}]")
  end

  # What has no class of its own stands together in one.
  defp general_text([]), do: []

  defp general_text(options) do
    options = Enum.map_join(options, ", ", fn {name, value} -> "#{name}=#{Python.repr(value)}" end)
    ["_PydanticGeneralMetadata(#{options})"]
  end

  @constraint_names %{
    "ge" => "Ge",
    "gt" => "Gt",
    "le" => "Le",
    "lt" => "Lt",
    "multiple_of" => "MultipleOf",
    "min_length" => "MinLen",
    "max_length" => "MaxLen",
    "strict" => "Strict",
    "allow_inf_nan" => "AllowInfNan"
  }

  @doc "A constraint as Python shows it: `Ge(ge=0)`."
  @spec constraint_text({String.t(), term}) :: String.t()
  def constraint_text({name, value}),
    do: "#{Map.get(@constraint_names, name, "_PydanticGeneralMetadata")}(#{name}=#{Python.repr(value)})"

  # Not Python's repr: DSPy quotes texts by a rule of its own here.
  defp literal_name(text) when is_binary(text) do
    case {String.contains?(text, "'"), String.contains?(text, "\"")} do
      {true, false} -> "\"#{text}\""
      {true, true} -> "'#{String.replace(text, "'", "\\'")}'"
      _other -> "'#{text}'"
    end
  end

  defp literal_name(value), do: Python.str(value)

  @doc """
  The type in signature syntax, without loss.

      iex> DSPex.Native.Signature.Type.to_text({:annotated, :int, [{:field, [{"ge", 0}]}]})
      "Annotated[int, Field(ge=0)]"
  """
  @spec to_text(t) :: String.t()
  def to_text(:none), do: "None"
  def to_text(:none_value), do: "None"
  def to_text({:bare, {:generic, path, _args}}), do: @generic_names[path]
  def to_text({:bare, {kind, _args}}), do: @bare_names[kind]
  def to_text(:any), do: "Any"
  def to_text(:ellipsis), do: "..."
  def to_text({:tuple, []}), do: "tuple[()]"
  def to_text({kind, args}) when kind in @containers, do: "#{kind}[#{Enum.map_join(args, ", ", &inside/1)}]"

  def to_text({:union, args}) do
    case Enum.split_with(args, &(&1 == :none)) do
      {[:none], [type]} when hd(args) != :none -> "Optional[#{to_text(type)}]"
      _other -> "Union[#{texts(args)}]"
    end
  end

  def to_text({:generic, path, args}), do: "#{@generic_names[path]}[#{texts(args)}]"
  def to_text({:literal, values}), do: "Literal[#{Enum.map_join(values, ", ", &constant_text/1)}]"

  def to_text({:annotated, type, metadata}) do
    "Annotated[#{Enum.join([to_text(type) | Enum.map(metadata, &metadata_text/1)], ", ")}]"
  end

  def to_text({kind, %{name: name} = definition}) when kind in [:enum, :model], do: Map.get(definition, :alias, name)
  def to_text({:dspy, name}), do: "dspy." <> name
  def to_text({:code, language}), do: "dspy.Code[#{constant_text(language)}]"
  def to_text({:class, path}), do: path
  def to_text(type) when type in @plain, do: Atom.to_string(type)

  # `None` inside a builtin container is the value; this is how its type is written there.
  defp inside(:none), do: "Optional[None]"
  defp inside(type), do: to_text(type)

  defp texts(args), do: Enum.map_join(args, ", ", &to_text/1)

  defp metadata_text({:constant, value}), do: constant_text(value)

  defp metadata_text({:field, options}),
    do: "Field(#{Enum.map_join(options, ", ", fn {name, value} -> "#{name}=#{constant_text(value)}" end)})"

  # An arrow inside a text would be read as the signature's own.
  defp constant_text(value), do: value |> Python.repr() |> String.replace("->", "-\\x3e")
end
