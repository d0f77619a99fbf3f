defmodule DSPex.Native.Signature.Table do
  @moduledoc """
  The one table of type names. Nothing that is not in it resolves, unless it was registered: no import, no attribute
  access, no evaluation, and no atom from text.
  """

  alias DSPex.Native.Signature.Type

  # name => what it is: a type, or {:constructor, kind, arity}; arity :any takes one or more arguments.
  @builtin %{
    "int" => :int,
    "str" => :str,
    "float" => :float,
    "bool" => :bool,
    "complex" => :complex,
    "bytes" => :bytes,
    "list" => {:constructor, :list, 1, :list},
    "set" => {:constructor, :set, 1, :set},
    "frozenset" => {:constructor, :frozenset, 1, :frozenset},
    "dict" => {:constructor, :dict, 2, :dict},
    "tuple" => {:constructor, :tuple, :any, :tuple}
  }

  @typing %{
    "Any" => :any,
    "Text" => :str,
    "List" => {:constructor, :list, 1, nil},
    "Set" => {:constructor, :set, 1, nil},
    "FrozenSet" => {:constructor, :frozenset, 1, nil},
    "Dict" => {:constructor, :dict, 2, nil},
    "Tuple" => {:constructor, :tuple, :any, nil},
    "Optional" => {:constructor, :optional, 1, nil},
    "Union" => {:constructor, :union, :any, nil},
    "Literal" => {:constructor, :literal, :any, nil},
    "Annotated" => {:constructor, :annotated, :any, nil},
    "Iterable" => {:constructor, {:generic, "collections.abc.Iterable"}, 1, nil},
    "Sequence" => {:constructor, {:generic, "collections.abc.Sequence"}, 1, nil},
    "MutableSequence" => {:constructor, {:generic, "collections.abc.MutableSequence"}, 1, nil},
    "AbstractSet" => {:constructor, {:generic, "collections.abc.Set"}, 1, nil},
    "MutableSet" => {:constructor, {:generic, "collections.abc.MutableSet"}, 1, nil},
    "Mapping" => {:constructor, {:generic, "collections.abc.Mapping"}, 2, nil},
    "MutableMapping" => {:constructor, {:generic, "collections.abc.MutableMapping"}, 2, nil},
    "Deque" => {:constructor, {:generic, "collections.deque"}, 1, nil},
    "DefaultDict" => {:constructor, {:generic, "collections.defaultdict"}, 2, nil},
    "OrderedDict" => {:constructor, {:generic, "collections.OrderedDict"}, 2, nil},
    "Counter" => {:constructor, {:generic, "collections.Counter"}, 1, nil}
  }

  @classes ~w(datetime.date datetime.datetime datetime.time datetime.timedelta decimal.Decimal uuid.UUID)
  @dspy ~w(Audio File History Image Reasoning Tool ToolCallResults ToolCalls Type)

  @names @builtin
         |> Map.merge(@typing)
         |> Map.merge(Map.new(@typing, fn {name, what} -> {"typing." <> name, what} end))
         |> Map.merge(Map.new(@classes, &{&1, {:class, &1}}))
         |> Map.merge(Map.new(@dspy, &{"dspy." <> &1, {:dspy, &1}}))
         |> Map.put("defaultdict", @typing["DefaultDict"])
         |> Map.put("dspy.Code", {:constructor, :code, 1, {:dspy, "Code"}})

  @others %{
    "string" => "str",
    "String" => "str",
    "text" => "str",
    "integer" => "int",
    "Integer" => "int",
    "number" => "float",
    "Number" => "float",
    "double" => "float",
    "boolean" => "bool",
    "Boolean" => "bool",
    "array" => "list",
    "object" => "dict",
    "map" => "dict",
    "date" => "datetime.date",
    "datetime" => "datetime.datetime",
    "Image" => "dspy.Image",
    "History" => "dspy.History",
    "uuid" => "uuid.UUID",
    "UUID" => "uuid.UUID",
    "Decimal" => "decimal.Decimal",
    "decimal" => "decimal.Decimal",
    "any" => "Any",
    "null" => "None",
    "nil" => "None",
    "bytearray" => "bytes",
    "enum" => "Literal",
    "enum.Enum" => "Literal",
    "pathlib.Path" => "str",
    "pydantic.BaseModel" => "dict"
  }

  @typedoc "Types by name that the caller registered."
  @type registered :: %{optional(String.t()) => Type.t()}

  @doc """
  What a name stands for. Registered types come first; as in DSPy, `NoneType` is known only where no type is registered.

      iex> DSPex.Native.Signature.Table.lookup("int", %{})
      :int
      iex> DSPex.Native.Signature.Table.lookup("os.path", %{})
      nil
  """
  @spec lookup(String.t(), registered) :: Type.t() | {:constructor, term, pos_integer | :any, Type.t() | nil} | nil
  def lookup("NoneType", registered) when map_size(registered) == 0, do: :none
  def lookup(path, registered) when map_size(registered) == 0, do: @names[path]

  # A dotted name is never a registered type: Python would look an attribute up.
  def lookup(path, registered) do
    case registered do
      %{^path => type} -> if String.contains?(path, "."), do: @names[path], else: type
      _others -> @names[path]
    end
  end

  @doc "What to write in the place of an unknown name."
  @spec suggestion(String.t(), registered) :: String.t()
  def suggestion(path, registered) do
    case @others[path] || close(path, Map.keys(registered) ++ Map.keys(@names)) do
      nil -> "Use a builtin type such as `str` or `list[int]`, or register the type with `types:`."
      name -> "Did you mean `#{name}`?"
    end
  end

  defp close(path, names) do
    {score, name} = names |> Enum.map(&{String.jaro_distance(path, &1), &1}) |> Enum.max()
    if score > 0.77, do: name
  end
end
