defmodule DSPex.Native.TemplateTest do
  use ExUnit.Case, async: true

  alias DSPex.Native.Template

  doctest DSPex.Native.Template

  @moduletag req: "FR3.2.1"

  defp render!(text, values, options \\ []), do: Template.render!(text, values, options)

  test "values appear as text, numbers, JSON or nothing" do
    values = %{
      "t" => "x",
      "n" => 1.5,
      "b" => false,
      "l" => [1, nil],
      "m" => %{"a" => "é"},
      "z" => nil,
      "d" => ~D[2026-01-02]
    }

    assert render!("{{t}} {{n}} {{b}} {{l}} {{m}} [{{z}}] {{d}}", values) ==
             ~s(x 1.5 false [1,null] {"a":"é"} [] 2026-01-02)

    assert render!(~s({{ t | json }}), values) == ~s("x")
  end

  test "dotted names reach into maps, ordered maps, atoms keys and lists" do
    assert render!("{{a.b}} {{l.1}}", %{a: DSPex.Ordered.new([{"b", 7}]), l: ["x", "y"]}) == "7 y"
  end

  test "sections repeat over lists, look names up outwards, and leave out what is empty" do
    values = %{"docs" => [%{"t" => "A"}, %{"t" => "B"}], "by" => "me", "none" => [], "one" => %{"t" => "C"}}
    assert render!("{{#docs}}{{t}} by {{by}};{{/docs}}", values) == "A by me;B by me;"

    assert render!("{{#none}}x{{/none}}{{^none}}nothing{{/none}}{{^absent}}!{{/absent}}{{#absent}}?{{/absent}}", values) ==
             "nothing!"

    assert render!("{{#one}}{{t}}{{/one}}{{^one}}no{{/one}}{{! a remark }}", values) == "C"
  end

  test "a default stands in for what is missing, nil or empty, and may hold bars and quotes" do
    assert render!(~S({{x | default: "a|\"b\""}}), %{}) == ~S(a|"b")
    assert render!(~S({{x | default: "-"}}), %{x: nil}) == "-"
    assert render!(~S({{x | json | default: "-"}}), %{x: [1]}) == "[1]"
  end

  test "the text of a value is never read as a template" do
    assert render!("{{a}}", %{"a" => "{{b}} {{#x}}"}) == "{{b}} {{#x}}"
  end

  test "a missing name is an error that names it and shows how to give a default" do
    assert {:error, error} = Template.render("{{a.b}}", %{"a" => %{}})
    assert error.reason == :invalid_input
    assert error.message =~ "{{a.b | default:"
    assert error.details == %{"missing" => ["a.b"]}
  end

  test "a malformed template is told with its line and a caret" do
    for {text, reason} <- [
          {"a\n {{#x}} b", "{{#x}} is not closed, in line 2"},
          {"{{/x}}", "closes no section that is open"},
          {"{{#x}}{{/y}}", "{{/y}} closes no section"},
          {"{{a b}}", ~s("a b" is no name)},
          {"{{}}", ~s("" is no name)},
          {"{{System.cmd}}{{a | upcase}}", ~s("upcase" is no filter)},
          {"{{a(1)}}", ~s("a(1\)" is no name)},
          {<<"{{", 255, "}}">>, "it is not UTF-8"}
        ] do
      assert {:error, error} = Template.parse(text)
      assert error.reason == :invalid_input
      assert error.message =~ reason
    end
  end

  test "bombs end at limits: size, depth and output" do
    assert {:error, %{reason: :limit_exceeded}} = Template.parse(String.duplicate("a", 1_048_577))
    deep = String.duplicate("{{#a}}", 40) <> String.duplicate("{{/a}}", 40)
    assert {:error, %{message: message}} = Template.parse(deep)
    assert message =~ "nest deeper than 32"

    ten = Enum.to_list(1..10)
    bomb = String.duplicate("{{#l}}", 9) <> "xxxxxxxxxx" <> String.duplicate("{{/l}}", 9)
    assert {:error, %{reason: :limit_exceeded}} = Template.render(bomb, %{"l" => ten}, max_bytes: 10_000)
    silent = String.duplicate("{{#l}}", 9) <> String.duplicate("{{/l}}", 9)
    assert {:error, %{reason: :limit_exceeded}} = Template.render(silent, %{"l" => ten})
  end

  test "values without a text are refused" do
    assert {:error, %{reason: :invalid_input, message: message}} = Template.render("{{f}}", %{"f" => fn -> 1 end})
    assert message =~ "the value of f has no text"
  end

  test "no atom is made of a template's names" do
    for n <- 1..50, do: render!("{{never_an_atom_#{n} | default: \"\"}}", %{})
    # Other tests make atoms meanwhile, so it is not their count that tells.
    for n <- 1..50, do: assert_raise(ArgumentError, fn -> String.to_existing_atom("never_an_atom_#{n}") end)
  end
end
